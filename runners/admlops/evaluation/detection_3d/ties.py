"""How far the order of equal confidences can move nuScenes detection metrics.

The devkit breaks ties by position in the submission file, the later box first, and so do we: a run's numbers are
reproducible. But the same boxes in another order give other numbers, and with coarse confidences the difference is not
small. The range says how much of a number is that order: the least and the largest value over

- matchings in which tied boxes of one sample and class come nearest first, farthest first, or in the reverse order;
- of each of these, the order with all true positives of a tie before its false positives, and the opposite;
- for the errors, ties in rising and in falling order of each error.

mAP's range adds up the ranges of the classes, which do not affect one another; that of NDS takes mAP and all errors at
their worst, and at their best. No range is a bound: errors are interpolated over confidences, so that an order which
mixes true and false positives of a tie can lie a little outside.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import Floats, Integers, Mask
from admlops.evaluation.detection_3d.curves import average_precision, make_curve, mean_errors
from admlops.evaluation.detection_3d.filters import DISTANCES_M
from admlops.evaluation.detection_3d.matching import NO_PARTNER, Pairs, match
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching, Score, combine
from admlops.evaluation.detection_3d.true_positive_errors import ERRORS, UNDEFINED, measure_errors

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class TieRange:
    """`tied` predictions share their confidence with another of their class; the ranges are (least, largest)."""

    tied: int
    mean_ap: Range
    nds: Range
    errors: dict[str, Range]


def tie_range(matching: Matching, score: Score) -> TieRange | None:
    """The range of the metrics of `matching`, whose official value is `score`; None if no two confidences are equal."""
    tied = _find_ties(matching)
    if not tied.any():
        return None
    variants = list(_variants(matching, tied))
    label = matching.predictions.label[matching.order]
    aps: list[Range] = []
    errors: list[dict[str, Range]] = []
    for index, name in enumerate(CLASSES):
        own = score.classes[name]
        rows = matching.order[label == index]
        part = _Class(rows=rows, tied=np.flatnonzero(tied[rows]), truth=own.truth)
        values = [own.mean_ap]
        spread = {error: [own.errors[error]] for error in ERRORS if error not in UNDEFINED.get(name, ())}
        if len(part.tied):
            for partners, first in product(variants, (True, False)):
                values.append(_mean_ap(matching, partners, part, first=first))
                _add_errors(spread, matching, partners, part, first=first)
        aps.append((min(values), max(values)))
        errors.append({error: (min(found), max(found)) for error, found in spread.items()})
    return _combine(int(tied.sum()), aps, errors)


def _combine(tied: int, aps: list[Range], errors: list[dict[str, Range]]) -> TieRange:
    low, high = (float(np.mean([pair[side] for pair in aps])) for side in (0, 1))
    means: dict[str, Range] = {}
    for error in ERRORS:
        pairs = [entry[error] for entry in errors if error in entry]
        means[error] = (float(np.mean([pair[0] for pair in pairs])), float(np.mean([pair[1] for pair in pairs])))
    worst = combine(low, {error: pair[1] for error, pair in means.items()})
    best = combine(high, {error: pair[0] for error, pair in means.items()})
    return TieRange(tied=tied, mean_ap=(low, high), nds=(worst, best), errors=means)


def _find_ties(matching: Matching) -> Mask:
    """Which predictions share label and confidence with another one."""
    boxes = matching.predictions
    order = np.lexsort((boxes.score, boxes.label))
    same = (np.diff(boxes.score[order]) == 0) & (np.diff(boxes.label[order]) == 0)
    tied = np.zeros(len(boxes), np.bool_)
    tied[order[1:][same]] = True
    tied[order[:-1][same]] = True
    return tied


def _variants(matching: Matching, tied: Mask) -> Iterator[Integers]:
    """The partners at each threshold, (4, N), under several orders within ties; the official one first."""
    yield matching.partners
    boxes, pairs = matching.predictions, matching.pairs
    contested = _contested(matching, tied)
    if not contested.any():
        return
    own = contested[pairs.prediction]
    part = Pairs(prediction=pairs.prediction[own], truth=pairs.truth[own], distance=pairs.distance[own])
    nearest = np.full(len(boxes), np.inf)
    np.minimum.at(nearest, part.prediction, part.distance)
    choices = np.bincount(part.prediction, minlength=len(boxes))
    place = np.empty(len(boxes), np.int64)
    place[matching.order] = np.arange(len(boxes))
    for key in (nearest, -nearest, -place, choices, -choices):
        rank = np.empty(len(boxes), np.int64)
        rank[np.lexsort((key, -boxes.score))] = np.arange(len(boxes))
        partners = matching.partners.copy()
        for column, threshold in enumerate(DISTANCES_M):
            again = match(part, rank, predictions=len(boxes), truth=len(matching.truth.boxes), threshold_m=threshold)
            partners[column, contested] = again[contested]
        yield partners


def _contested(matching: Matching, tied: Mask) -> Mask:
    """The predictions of samples and classes in which tied ones may want the same ground truth."""
    boxes = matching.predictions
    near = np.zeros(len(boxes), np.bool_)
    near[matching.pairs.prediction] = True
    group = boxes.sample.astype(np.int64) * len(CLASSES) + boxes.label
    rows = np.flatnonzero(near & tied)
    order = rows[np.lexsort((boxes.score[rows], group[rows]))]
    same = (np.diff(boxes.score[order]) == 0) & (np.diff(group[order]) == 0)
    return np.isin(group, group[order[1:][same]])


@dataclass(frozen=True, kw_only=True)
class _Class:
    """One class: `rows` of its predictions ranked by confidence, `tied` places in `rows`, ground-truth boxes."""

    rows: Integers
    tied: Integers
    truth: int


def _arrange(matching: Matching, positive: Mask, own: _Class, *, first: bool) -> Integers:
    """The rows in order of confidence, within ties the true positives first or last."""
    rows = own.rows.copy()
    loose = rows[own.tied]
    key = ~positive[loose] if first else positive[loose]
    rows[own.tied] = loose[np.lexsort((key, -matching.predictions.score[loose]))]
    return rows


def _mean_ap(matching: Matching, partners: Integers, own: _Class, *, first: bool) -> float:
    values = []
    for found in partners != NO_PARTNER:
        at = _arrange(matching, found, own, first=first)
        values.append(average_precision(make_curve(found[at], matching.predictions.score[at], truth=own.truth)))
    return float(np.mean(values))


def _add_errors(
    spread: dict[str, list[float]], matching: Matching, partners: Integers, own: _Class, *, first: bool
) -> None:
    partner = partners[ERROR_COLUMN]
    found = partner != NO_PARTNER
    at = _arrange(matching, found, own, first=first)
    curve = make_curve(found[at], matching.predictions.score[at], truth=own.truth)
    hits = at[found[at]]
    errors = measure_errors(matching.predictions.take(hits), matching.truth.boxes.take(partner[hits]))
    scores = matching.predictions.score[hits]
    for error, values in spread.items():
        column: Floats = errors[:, ERRORS.index(error)]
        for sign in (1.0, -1.0):
            order = np.lexsort((sign * column, -scores))
            values.append(float(mean_errors(curve, column[order, np.newaxis], scores[order])[0]))
