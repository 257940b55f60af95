"""nuScenes detection metrics of resampled scenes: thousands of evaluations for the price of a few.

Matching happens within samples, so another choice of scenes changes no match, only how often each one counts. Every
class keeps, for each scene, its cumulative counts of predictions, true positives and error sums at up to CHECKPOINTS
places ranked by confidence; a resample is then a weighted sum over scenes. Classes of no more predictions than that
are exact; of larger ones the curves are sampled densely where recall rises, which moves a resampled AP by some 10⁻⁵.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import Floats, Integers
from admlops.evaluation.detection_3d.curves import FIRST, RECALLS
from admlops.evaluation.detection_3d.filters import MIN_PRECISION
from admlops.evaluation.detection_3d.matching import NO_PARTNER
from admlops.evaluation.detection_3d.scores import ERROR_COLUMN, Matching, combine
from admlops.evaluation.detection_3d.true_positive_errors import ERRORS, UNDEFINED
from admlops.evaluation.statistics.bootstrap import Weights

CHECKPOINTS = 512


@dataclass(frozen=True, kw_only=True)
class Resampled:
    """R resamples: `mean_ap` and `nds` (R,), `errors` (R,) by the devkit's name."""

    mean_ap: Floats
    nds: Floats
    errors: dict[str, Floats]


@dataclass(frozen=True, kw_only=True)
class _Counts:
    """One class at K places ranked by confidence, cumulative, and weighted for each of R resamples.

    Attributes:
        scores: (K,) confidence at each place.
        all: (R, K) predictions up to there.
        found: (4, R, K) true positives at each of DISTANCES_M.
        sums, known: (5, R, K) sum and number of the errors of ERRORS that are defined.
        truth: (R,) ground-truth boxes.
    """

    scores: Floats
    all: Floats
    found: Floats
    sums: Floats
    known: Floats
    truth: Floats


def resample_scores(matching: Matching, scene: Integers, weights: Weights) -> Resampled:
    """The metrics of each resample.

    Args:
        scene: (S,) the scene of each sample, from 0.
        weights: (R, scenes) how often each resample has each scene.
    """
    label = matching.predictions.label[matching.order]
    aps = np.empty((len(CLASSES), len(weights)))
    errors = np.empty((len(CLASSES), len(weights), len(ERRORS)))
    for index, name in enumerate(CLASSES):
        counts = _count(matching, index, matching.order[label == index], scene, weights.astype(np.float64))
        aps[index], errors[index] = _score(counts)
        errors[index][:, [ERRORS.index(error) for error in UNDEFINED.get(name, ())]] = np.nan
    mean_ap, means = aps.mean(axis=0), np.nanmean(errors, axis=0)
    nds = np.array(
        [combine(ap, dict(zip(ERRORS, row, strict=True))) for ap, row in zip(mean_ap, means.tolist(), strict=True)]
    )
    return Resampled(mean_ap=mean_ap, nds=nds, errors=dict(zip(ERRORS, means.T, strict=True)))


def _count(matching: Matching, label: int, rows: Integers, scene: Integers, weights: Floats) -> _Counts:
    scenes = weights.shape[1]
    positive = matching.partners[:, rows] != NO_PARTNER
    places = _choose_places(positive)
    place = np.searchsorted(places, np.arange(len(rows)))
    cell = place * scenes + scene[matching.predictions.sample[rows]]

    def add_up(chosen: NDArray[np.bool_], values: Floats | None = None) -> Floats:
        sums = np.bincount(cell[chosen], weights=values, minlength=len(places) * scenes)
        total: Floats = weights @ sums.reshape(len(places), scenes).cumsum(axis=0).T.astype(np.float64)
        return total

    found = np.stack([add_up(row) for row in positive])
    errors = matching.errors[rows]
    defined = positive[ERROR_COLUMN][:, np.newaxis] & ~np.isnan(errors)
    complete = defined.sum(axis=0) == positive[ERROR_COLUMN].sum()
    truth = matching.truth.boxes
    return _Counts(
        scores=matching.predictions.score[rows[places]],
        all=add_up(np.ones(len(rows), np.bool_)),
        found=found,
        sums=np.stack([add_up(mask, errors[mask, column]) for column, mask in enumerate(defined.T)]),
        known=np.stack(
            [found[ERROR_COLUMN] if complete[column] else add_up(mask) for column, mask in enumerate(defined.T)]
        ),
        truth=weights @ np.bincount(scene[truth.sample[truth.label == label]], minlength=scenes),
    )


def _choose_places(positive: NDArray[np.bool_]) -> Integers:
    """Rising places ranked by confidence: all, or those of true positives and the last one before each of them."""
    if positive.shape[1] <= CHECKPOINTS:
        return np.arange(positive.shape[1])
    share = CHECKPOINTS // (2 * len(positive))
    chosen = [np.array([positive.shape[1] - 1])]
    for row in positive:
        hits = np.flatnonzero(row)
        hits = hits[np.unique(np.linspace(0, len(hits) - 1, min(len(hits), share)).round().astype(np.int64))]
        chosen += [hits, np.maximum(hits - 1, 0)]
    return np.unique(np.concatenate(chosen))


@dataclass(frozen=True, kw_only=True)
class _Reading:
    """Where each resample stands at each of RECALLS, (R, 101): between the places `at` and `at + 1`.

    `share` is how far it is from the one to the other, `beyond` where the recall is not reached.
    """

    at: Integers
    share: Floats
    beyond: NDArray[np.bool_]

    def read(self, values: Floats) -> Floats:
        """`values` (R, K) or (K,) at each of RECALLS, linearly between places, 0 beyond the last."""
        after = np.minimum(self.at + 1, values.shape[-1] - 1)
        if values.ndim == 1:
            low, high = values[self.at], values[after]
        else:
            low, high = np.take_along_axis(values, self.at, axis=1), np.take_along_axis(values, after, axis=1)
        return np.where(self.beyond, 0.0, low + self.share * (high - low))


def _score(counts: _Counts) -> tuple[Floats, Floats]:
    """AP, the mean over thresholds, (R,), and the mean errors, (R, 5), of one class in each resample."""
    resamples = len(counts.truth)
    aps, errors = np.zeros(resamples), np.ones((resamples, len(ERRORS)))
    if not len(counts.scores):
        return aps, errors
    for column, found in enumerate(counts.found):
        reading = _read_recalls(found, counts.truth)
        precision = reading.read(found / np.maximum(counts.all, 1))
        above = np.maximum(precision[:, FIRST:] - MIN_PRECISION, 0)
        there = found[:, -1] > 0
        aps += np.where(there, above.mean(axis=1) / (1.0 - MIN_PRECISION), 0.0)
        if column == ERROR_COLUMN:
            errors[there] = _mean_errors(counts, reading)[there]
    return aps / len(counts.found), errors


def _read_recalls(found: Floats, truth: Floats) -> _Reading:
    """The last place with a recall of at most each of RECALLS. Counts are whole numbers, so this is exact."""
    resamples, places = found.shape
    wanted = RECALLS * truth[:, np.newaxis]
    step = float(found.max(initial=0.0) + truth.max(initial=0.0) + 2)
    offset = step * np.arange(resamples)[:, np.newaxis]
    at = np.searchsorted((found + offset).ravel(), (np.floor(wanted + 1e-9) + offset).ravel(), side="right")
    at = at.reshape(wanted.shape) - 1 - places * np.arange(resamples)[:, np.newaxis]
    inside = np.clip(at, 0, places - 1)
    low = np.take_along_axis(found, inside, axis=1)
    high = np.take_along_axis(found, np.minimum(inside + 1, places - 1), axis=1)
    rise = high - low
    share = np.divide(wanted - low, rise, out=np.zeros_like(rise), where=(rise > 0) & (at >= 0))
    beyond = (at == places - 1) & (wanted > found[:, -1:] + 1e-9)
    return _Reading(at=inside, share=np.clip(share, 0.0, 1.0), beyond=beyond)


def _mean_errors(counts: _Counts, reading: _Reading) -> Floats:
    """Means over the recalls reached, of the cumulative means interpolated over confidence between true positives."""
    found = counts.found[ERROR_COLUMN]
    places = np.arange(found.shape[1])
    hits = np.maximum.accumulate(np.where(np.diff(found, axis=1, prepend=0) > 0, places, -1), axis=1)
    confidence = reading.read(counts.scores)
    before = np.take_along_axis(hits, reading.at, axis=1)
    after = np.minimum(reading.at + 1, places[-1])
    before, after = np.where(before < 0, after, before), np.where(reading.at == places[-1], before, after)
    gap = counts.scores[before] - counts.scores[after]
    share = np.divide(counts.scores[before] - confidence, gap, out=np.zeros_like(gap), where=gap > 0)
    reached = np.where(confidence != 0, np.arange(1, len(RECALLS) + 1), 0).max(axis=1)
    counted = (np.arange(len(RECALLS)) >= FIRST) & (np.arange(len(RECALLS)) < reached[:, np.newaxis])
    total = counted.sum(axis=1)
    means = np.ones((len(found), len(ERRORS)))
    for column in range(len(ERRORS)):
        mean = counts.sums[column] / np.maximum(counts.known[column], 1)
        low, high = np.take_along_axis(mean, before, axis=1), np.take_along_axis(mean, after, axis=1)
        value = ((low + np.clip(share, 0, 1) * (high - low)) * counted).sum(axis=1) / np.maximum(total, 1)
        # NaN all the way counts as 1, and so do too few recalls.
        means[:, column] = np.where((total > 0) & (counts.known[column][:, -1] > 0), value, 1.0)
    return means
