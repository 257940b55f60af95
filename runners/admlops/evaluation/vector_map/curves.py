"""Precision and recall of vector map elements, and the area between them, as MapTR computes them.

In order of confidence a prediction is a true positive if its nearest element is within the limit and not taken yet. AP
is the area under the monotone precision-recall curve, in single precision. Equal confidences keep their order; of
predictions with one confidence the number of true positives does not depend on their order, so the areas with all of
them first and all of them last are the ends of what any order can give.

Source: MapTR, projects/mmdet3d_plugin/datasets/map_utils/{mean_ap,tpfp}.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.statistics.ordering import order_descending, order_ties

MAX_CURVE_POINTS = 100

Floats32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class SampleMatch:
    """One class in one sample. `ground_truth` are indices into the sample's list of vectors.

    `nearest` and `distance` give each prediction's nearest element (an index into `ground_truth`) and how far it is
    [m]; infinite where no pair exists.
    """

    sample_token: str
    confidences: NDArray[np.float64]
    ids: tuple[int, ...]
    ground_truth: tuple[int, ...]
    nearest: NDArray[np.intp]
    distance: NDArray[np.float64]

    def true_positives(self, limit: float) -> NDArray[np.bool_]:
        """Which predictions are true positives within `limit`, in the record's order."""
        return true_positives_of([self], limit)


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """A precision-recall curve in order of falling confidence, single precision, and the area under it.

    `ap_low` and `ap_high` bound the areas that other orders of equal confidences give.
    """

    ap: float
    ap_low: float
    ap_high: float
    recall: Floats32
    precision: Floats32
    confidence: NDArray[np.float64]


def true_positives_of(matches: Sequence[SampleMatch], limit: float) -> NDArray[np.bool_]:
    """Which predictions of all samples, one after another, are true positives.

    In order of confidence the first one within the limit takes its nearest element.
    """
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    distance = np.concatenate([np.zeros(0), *(match.distance for match in matches)])
    counts = [len(match.ground_truth) for match in matches]
    first = np.repeat(np.cumsum(counts) - counts, [len(match.ids) for match in matches]).astype(np.intp)
    element = first + np.concatenate([np.zeros(0, dtype=np.intp), *(match.nearest for match in matches)])
    order = order_descending(confidences)
    order = order[distance[order] <= limit]
    positive = np.zeros(len(confidences), dtype=np.bool_)
    positive[order[np.unique(element[order], return_index=True)[1]]] = True
    return positive


def precision_recall(matches: Sequence[SampleMatch], limit: float) -> PrecisionRecall:
    """The curve of one class at one threshold over all samples."""
    ground_truth = sum(len(match.ground_truth) for match in matches)
    confidences = np.concatenate([np.zeros(0), *(match.confidences for match in matches)])
    positive = true_positives_of(matches, limit)
    order = order_descending(confidences)
    recall, precision = _accumulate(positive[order], ground_truth)
    ap = average_precision(recall, precision)
    tied = order_ties(confidences[order], positive[order])
    low, high = (ap, ap) if tied is None else (average_precision(*_accumulate(hits, ground_truth)) for hits in tied)
    return PrecisionRecall(
        ap=ap,
        ap_low=low,
        ap_high=high,
        recall=recall,
        precision=precision,
        confidence=confidences[order],
    )


def _accumulate(positive: NDArray[np.bool_], ground_truth: int) -> tuple[Floats32, Floats32]:
    """Recall and precision after each prediction."""
    tiny = np.finfo(np.float32).eps
    tp = np.cumsum(positive.astype(np.float32))
    fp = np.cumsum((~positive).astype(np.float32))
    recall = tp / np.float32(max(float(ground_truth), float(tiny)))
    return recall, tp / np.maximum(tp + fp, tiny)


def average_precision(recall: Floats32, precision: Floats32) -> float:
    """The area under the curve after making precision monotone from the right; single precision as in MapTR."""
    ends = np.zeros(1, np.float32), np.ones(1, np.float32)
    recall = np.concatenate([ends[0], recall, ends[1]])
    precision = np.concatenate([ends[0], precision, ends[0]])
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.nonzero(recall[1:] != recall[:-1])[0]
    return float(np.sum((recall[steps + 1] - recall[steps]) * envelope[steps + 1]))


def thin(curve: PrecisionRecall) -> dict[str, list[float]]:
    """At most MAX_CURVE_POINTS of the points at which recall rises, the last one among them."""
    rises = np.nonzero(np.diff(curve.recall, prepend=np.float32(0)) > 0)[0]
    chosen = rises[np.unique(np.linspace(0, len(rises) - 1, min(len(rises), MAX_CURVE_POINTS)).round().astype(int))]
    return {
        "recall": [round(float(value), 6) for value in curve.recall[chosen]],
        "precision": [round(float(value), 6) for value in curve.precision[chosen]],
        "confidence": [round(float(value), 6) for value in curve.confidence[chosen]],
    }
