"""Which prediction finds which ground truth, as nuScenes decides it, for all samples and classes at once.

The rule: in order of score, the most confident first, each prediction takes the nearest ground truth of its class in
its sample that is still free, if that is nearer than the threshold. The nearest free one is near enough exactly if any
free one is, so only pairs within the threshold matter. With one ranking for all, the outcome is the stable
matching, which deferred acceptance finds in a few rounds over all predictions together: everyone asks for its nearest,
a ground truth keeps the best that asked, and who is refused asks for its next.

Source: nuscenes-devkit 1.2.0, `nuscenes/eval/detection/algo.py` (`accumulate`); D. Gale and L. Shapley, *College
admissions and the stability of marriage*, 1962.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import Boxes, Floats, Integers

NO_PARTNER = -1
PAIRS_AT_ONCE = 1 << 20
"""Pairs whose distance is computed in one go: bounds the memory, some 60 MB."""


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs of one class and sample that are near enough to match at the largest threshold.

    Attributes:
        prediction: (P,) row of the prediction, rising.
        truth: (P,) row of the ground truth.
        distance: (P,) between centres on the ground plane [m].
    """

    prediction: Integers
    truth: Integers
    distance: Floats


def rank_predictions(boxes: Boxes) -> Integers:
    """The rows in official order: descending score, and of equal scores the later row first."""
    order: Integers = np.argsort(boxes.score, kind="stable")[::-1]
    return order


def find_pairs(predictions: Boxes, truth: Boxes, *, limit_m: float) -> Pairs:
    """All pairs of one class and sample whose centres are less than `limit_m` apart on the ground plane."""
    key = _group(truth)
    order = np.argsort(key, kind="stable")
    groups = key[order]
    wanted = _group(predictions)
    start = np.searchsorted(groups, wanted, side="left")
    count = np.searchsorted(groups, wanted, side="right") - start
    cuts = np.searchsorted(np.cumsum(count), np.arange(PAIRS_AT_ONCE, count.sum() + PAIRS_AT_ONCE, PAIRS_AT_ONCE))
    bounds = [0, *(int(cut) + 1 for cut in cuts)]
    found: list[tuple[Integers, Integers, Floats]] = []
    for low, high in pairwise(bounds):
        own = count[low:high]
        prediction = np.repeat(np.arange(low, low + len(own)), own)
        step = np.arange(len(prediction)) - np.repeat(np.cumsum(own) - own, own)
        partner = order[np.repeat(start[low:high], own) + step]
        dx = predictions.center[prediction, 0] - truth.center[partner, 0]
        dy = predictions.center[prediction, 1] - truth.center[partner, 1]
        distance = np.sqrt(dx * dx + dy * dy)
        near = distance < limit_m
        found.append((prediction[near], partner[near], distance[near]))
    prediction, partner, distance = (np.concatenate(part) for part in zip(*found, strict=True)) if found else _none()
    return Pairs(prediction=prediction, truth=partner, distance=distance)


def match(pairs: Pairs, rank: Integers, *, predictions: int, truth: int, threshold_m: float) -> NDArray[np.int64]:
    """Each prediction's partner, a row of the ground truth or NO_PARTNER, at one threshold.

    Args:
        rank: (predictions,) place of each prediction ranked by confidence, 0 for the first.
        predictions, truth: how many there are.
    """
    near = np.flatnonzero(pairs.distance < threshold_m)
    # By rank of the prediction, then by distance, then by row: the devkit takes the first of equally near ones.
    near = near[np.lexsort((pairs.truth[near], pairs.distance[near], rank[pairs.prediction[near]]))]
    wanted = pairs.truth[near]
    suitors, start, count = np.unique(rank[pairs.prediction[near]], return_index=True, return_counts=True)
    holder = _defer(wanted, start, start + count, truth=truth)
    held = np.flatnonzero(holder < len(suitors))
    partners = np.full(predictions, NO_PARTNER, dtype=np.int64)
    by_rank = np.empty(predictions, dtype=np.int64)
    by_rank[rank] = np.arange(predictions)
    partners[by_rank[suitors[holder[held]]]] = held
    return partners


def _defer(wanted: Integers, start: Integers, end: Integers, *, truth: int) -> Integers:
    """Deferred acceptance: for each ground truth the suitor that it keeps, or the number of suitors for none.

    `wanted[start[i]:end[i]]` are the wishes of suitor i, the dearest first; suitors come ranked by confidence.
    """
    nobody = len(start)
    holder = np.full(truth, nobody, dtype=np.int64)
    wish = start.copy()
    asking = np.arange(nobody)
    while len(asking):
        asked = wanted[wish[asking]]
        before = holder[asked]
        np.minimum.at(holder, asked, asking)
        refused = asking[holder[asked] != asking]
        displaced = np.unique(before[(before != holder[asked]) & (before != nobody)])
        asking = np.concatenate([refused, displaced])
        wish[asking] += 1
        asking = asking[wish[asking] < end[asking]]
    return holder


def _group(boxes: Boxes) -> Integers:
    """One number for each sample and class."""
    group: Integers = boxes.sample.astype(np.int64) * len(CLASSES) + boxes.label
    return group


def _none() -> tuple[Integers, Integers, Floats]:
    return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
