"""From matches to a precision-recall curve, an average precision and mean errors, as nuScenes computes them.

Source: nuscenes-devkit 1.2.0, `nuscenes/eval/detection/algo.py` (`accumulate`, `calc_ap`, `calc_tp`) and
`nuscenes/eval/common/utils.py` (`cummean`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from admlops.evaluation.detection_3d.boxes import Floats, Mask
from admlops.evaluation.detection_3d.filters import MIN_PRECISION, MIN_RECALL

RECALLS = np.linspace(0, 1, 101)
FIRST = round(100 * MIN_RECALL) + 1
"""Index of the first of RECALLS that counts: the bin at the least recall itself does not."""


@dataclass(frozen=True, kw_only=True)
class Curve:
    """Precision and confidence at each of RECALLS, 0 where the class does not get that far."""

    precision: Floats
    confidence: Floats

    @property
    def reached(self) -> int:
        """How many of RECALLS the class reached, as far as its confidences tell: one of 0 reads as not reached."""
        there = np.flatnonzero(self.confidence)
        return int(there[-1]) + 1 if len(there) else 0


NO_MATCH = Curve(precision=np.zeros(101), confidence=np.zeros(101))
"""The curve of a class without ground truth, or of which nothing was found."""


def make_curve(positive: Mask, scores: Floats, *, truth: int) -> Curve:
    """The curve of one class at one threshold.

    Args:
        positive: which predictions are true positives, ranked by confidence.
        scores: their confidences, in the same order.
        truth: the number of ground-truth boxes.
    """
    if not truth or not positive.any():
        return NO_MATCH
    found = np.cumsum(positive).astype(float)
    precision = found / np.arange(1, len(positive) + 1)
    recall = found / float(truth)
    return Curve(
        precision=np.interp(RECALLS, recall, precision, right=0), confidence=np.interp(RECALLS, recall, scores, right=0)
    )


def average_precision(curve: Curve) -> float:
    """The mean precision above the least recall, with the least precision cut away."""
    above = curve.precision[FIRST:] - MIN_PRECISION
    above[above < 0] = 0
    return float(np.mean(above)) / (1.0 - MIN_PRECISION)


def mean_errors(curve: Curve, errors: Floats, scores: Floats) -> Floats:
    """The mean of each error over the recalls reached, 1 where too few were.

    Args:
        errors: (M, E) of the true positives ranked by confidence, NaN where undefined.
        scores: (M,) their confidences.
    """
    last = curve.reached - 1
    if last < FIRST:
        return np.ones(errors.shape[1])
    means = [_interpolate(curve, column, scores) for column in errors.T]
    return np.array([float(np.mean(mean[FIRST : last + 1])) for mean in means])


def _interpolate(curve: Curve, errors: Floats, scores: Floats) -> Floats:
    """The cumulative mean of an error at the confidence of each recall."""
    means = _cumulative_mean(errors)[::-1]
    at: Floats = np.interp(curve.confidence[::-1], scores[::-1], means)
    # Between confidences that differ by less than some 1e-308 the slope that NumPy computes is infinite; the share of
    # the way is not.
    lost = ~np.isfinite(at)
    if lost.any():
        at[lost] = _between(curve.confidence[::-1][lost], scores[::-1], means)
    return at[::-1]


def _between(at: Floats, places: Floats, values: Floats) -> Floats:
    """Interpolate linearly by the share of the way from one of the rising `places` to the next."""
    after = np.clip(np.searchsorted(places, at, side="right"), 1, len(places) - 1)
    low, high = places[after - 1], places[after]
    share = np.divide(at - low, high - low, out=np.ones_like(at), where=high > low)
    found: Floats = values[after - 1] * (1 - share) + values[after] * share
    return found


def _cumulative_mean(values: Floats) -> Floats:
    """The mean of the values so far without NaN: 0 before the first one, 1 everywhere if there is none."""
    known = ~np.isnan(values)
    if not known.any():
        return np.ones(len(values))
    sums, counts = np.nancumsum(values), np.cumsum(known)
    means: Floats = np.divide(sums, counts, out=np.zeros_like(sums), where=counts != 0)
    return means
