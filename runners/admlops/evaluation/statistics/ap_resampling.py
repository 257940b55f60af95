"""Average precision in resampled scenes: a thousand evaluations for the price of a few.

Matching happens within samples, so another choice of scenes changes no match, only how often each one counts. For each
scene the predictions and the true positives are counted up to the places of true positives in the order of confidence;
a resample is a weighted sum over scenes. With more true positives than PLACES some of them, and the first ones, stand
for all, and precision runs linearly in between: that moves a resampled AP by some 10⁻⁵, and COCO's, with FEW_PLACES, by
some 10⁻⁴. Where no resample has a scene twice, each is a part of the data set and is evaluated by itself, at all of its
true positives.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.statistics.ordering import order_descending

PLACES = 512
FEW_PLACES = 128
"""Enough where the curve is read at 101 recalls."""

FIRST = 64
"""The first so many true positives are always places: there precision jumps."""

ELEVEN = np.arange(11) / 10
HUNDRED = np.linspace(0.0, 1.0, 101)
MARGIN = 1e-6
"""What single precision takes from a recall of 0.1, 0.2, …; the original counts it as reached."""

Bools = NDArray[np.bool_]
Measure = Callable[[NDArray[np.floating], Bools, Scenes, NDArray[np.integer], Weights], Values]


@dataclass(frozen=True, kw_only=True)
class _Curves:
    """Recall and the best precision from there on, (R, K) each, at K places.

    `skipped` (K,) says where true positives lie between a place and the one before.
    """

    recall: Values
    precision: Values
    skipped: Bools

    @property
    def between(self) -> Values:
        """The best precision up to each place: the mean of both ends where true positives are skipped."""
        before = np.concatenate([self.precision[:, :1], self.precision[:, :-1]], axis=1)
        return np.where(self.skipped, (self.precision + before) / 2, self.precision)


def _exact_for_parts(measure: Measure) -> Measure:
    """Give `measure` each resample alone, its scenes as one, where none has a scene twice."""

    @functools.wraps(measure)
    def measured(
        confidences: NDArray[np.floating], positive: Bools, scene: Scenes, truth: NDArray[np.integer], weights: Weights
    ) -> Values:
        if weights.max(initial=0) > 1:
            return measure(confidences, positive, scene, truth, weights)
        ends = np.bincount(scene, minlength=weights.shape[1]).cumsum()[:-1]
        of_scene = np.split(np.argsort(scene, kind="stable"), ends)
        values = np.zeros(len(weights))
        once = np.ones((1, 1), dtype=np.int32)
        for row, drawn in enumerate(weights > 0):
            own = np.sort(np.concatenate([scene[:0], *(of_scene[index] for index in np.flatnonzero(drawn))]))
            there = truth[drawn].sum(keepdims=True)
            values[row] = measure(confidences[own], positive[own], np.zeros_like(own), there, once)[0]
        return values

    return measured


@_exact_for_parts
def resample_area(
    confidences: NDArray[np.floating], positive: Bools, scene: Scenes, truth: NDArray[np.integer], weights: Weights
) -> Values:
    """The area under the monotone precision-recall curve in each resample, (R,).

    Args:
        confidences, positive, scene: (N,) of each prediction: whether it is a true positive, and its scene, from 0.
        truth: (C,) ground truths in each scene.
        weights: (R, C) how often each resample has each scene.
    """
    curves = _curves(confidences, positive, scene, truth, weights)
    if curves is None:
        return np.zeros(len(weights))
    area: Values = (np.diff(curves.recall, axis=1, prepend=0) * curves.between).sum(axis=1)
    return area


@_exact_for_parts
def resample_eleven_points(
    confidences: NDArray[np.floating], positive: Bools, scene: Scenes, truth: NDArray[np.integer], weights: Weights
) -> Values:
    """The mean of the best precision at recalls of at least 0, 0.1, … 1 in each resample; arguments as above.

    Where neither side has anything, 1.
    """
    often = weights.astype(np.float64)
    found = often @ np.bincount(scene, minlength=weights.shape[1])
    nothing = (often @ truth == 0) & (found == 0)
    curves = _curves(confidences, positive, scene, truth, weights)
    if curves is None:
        return np.asarray(nothing, dtype=np.float64)
    total = np.zeros(len(weights))
    for recall in ELEVEN:
        reached = curves.recall >= recall - MARGIN
        at = reached.argmax(axis=1)
        total += np.where(reached.any(axis=1), curves.precision[np.arange(len(at)), at], 0.0)
    mean: Values = np.where(nothing, 1.0, total / len(ELEVEN))
    return mean


@_exact_for_parts
def resample_hundred_points(
    confidences: NDArray[np.floating], positive: Bools, scene: Scenes, truth: NDArray[np.integer], weights: Weights
) -> Values:
    """The mean of the best precision at recalls of at least 0, 0.01, … 1 in each resample; arguments as above.

    NaN where there is no ground truth.
    """
    there = weights.astype(np.float64) @ truth
    curves = _curves(confidences, positive, scene, truth, weights, places=min(FEW_PLACES, PLACES))
    if curves is None:
        return np.where(there > 0, 0.0, np.nan)
    recall = np.minimum(curves.recall, 1.0)
    last = (recall * 100 + MARGIN).astype(np.int64)
    reached = last + 1 - (HUNDRED[last] > recall)  # recalls of HUNDRED up to each place, by its own digits
    mean = (np.diff(reached, axis=1, prepend=0) * curves.between).sum(axis=1) / len(HUNDRED)
    return np.where(there > 0, mean, np.nan)


def _curves(
    confidences: NDArray[np.floating],
    positive: Bools,
    scene: Scenes,
    truth: NDArray[np.integer],
    weights: Weights,
    *,
    places: int | None = None,
) -> _Curves | None:
    """None without any true positive. A single resample costs little, so it takes every place."""
    order = order_descending(confidences)
    hits = np.flatnonzero(positive[order])
    if not len(hits):
        return None
    most = (places or PLACES) if len(weights) > 1 else len(hits)
    chosen = np.linspace(0, len(hits) - 1, min(len(hits), most)).round().astype(np.int64)
    chosen = np.union1d(chosen, np.arange(min(len(hits), FIRST)))
    at = hits[chosen]
    cell = np.searchsorted(at, np.arange(len(order))) * weights.shape[1] + scene[order]
    size = (len(at) + 1, weights.shape[1])
    often = weights.astype(np.float64)

    def count(cells: NDArray[np.int64]) -> Values:
        up_to = np.bincount(cells, minlength=size[0] * size[1]).reshape(size)[:-1].cumsum(axis=0)
        counts: Values = often @ up_to.T.astype(np.float64)
        return counts

    everything, found = count(cell), count(cell[hits])
    precision = found / np.maximum(everything, 1)
    return _Curves(
        recall=found / np.maximum(often @ truth, 1)[:, np.newaxis],
        precision=np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1],
        skipped=np.diff(chosen, prepend=-1) > 1,
    )
