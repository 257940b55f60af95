"""nuScenes detection metrics on the host: AP, mAP, true-positive errors and NDS from arrays of boxes.

The numbers are those of nuscenes-devkit 1.2.0 (`DetectionEval`), up to the last bits of a 64-bit float; its code is run
beside this one in the tests and with `admlops evaluate --official`. Equal confidences keep the devkit's order, the
later box first.

Sources: H. Caesar et al., *nuScenes: A multimodal dataset for autonomous driving*, CVPR 2020; nuscenes-devkit,
`nuscenes/eval/detection/`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import Boxes, Floats, GroundTruth, Integers, Mask
from admlops.evaluation.detection_3d.curves import RECALLS, Curve, average_precision, make_curve, mean_errors
from admlops.evaluation.detection_3d.filters import (
    DISTANCES_M,
    ERROR_DISTANCE_M,
    MEAN_AP_WEIGHT,
    filter_predictions,
    filter_truth,
)
from admlops.evaluation.detection_3d.matching import NO_PARTNER, Pairs, find_pairs, match, rank_predictions
from admlops.evaluation.detection_3d.protocols import DetectionProtocol
from admlops.evaluation.detection_3d.true_positive_errors import ERRORS, UNDEFINED, measure_errors

ERROR_COLUMN = DISTANCES_M.index(ERROR_DISTANCE_M)


@dataclass(frozen=True, kw_only=True)
class Matching:
    """Filtered boxes and what found what.

    Attributes:
        predictions, truth: the boxes that count.
        order: (N,) rows of the predictions ranked by confidence.
        pairs: all that are near enough at the largest threshold.
        partners: (4, N) each prediction's ground truth at each of DISTANCES_M, or NO_PARTNER.
        errors: (N, 5) true-positive errors of the matches at ERROR_DISTANCE_M, NaN for all others.
    """

    predictions: Boxes
    truth: GroundTruth
    order: Integers
    pairs: Pairs
    partners: NDArray[np.int64]
    errors: Floats


@dataclass(frozen=True, kw_only=True)
class ClassScore:
    """One class: AP by threshold [m], mean errors (NaN where undefined), curves, and how many boxes counted."""

    ap: Mapping[float, float]
    errors: Mapping[str, float]
    curves: Mapping[float, Curve]
    truth: int
    predictions: int

    @property
    def mean_ap(self) -> float:
        return float(np.mean(list(self.ap.values())))


@dataclass(frozen=True, kw_only=True)
class Score:
    """All classes and the means over them, as the protocol defines them."""

    classes: Mapping[str, ClassScore]

    @property
    def mean_ap(self) -> float:
        """mAP: the mean over classes of the mean over thresholds; a class without ground truth counts as 0."""
        return float(np.mean([entry.mean_ap for entry in self.classes.values()]))

    @property
    def errors(self) -> dict[str, float]:
        """Each error's mean over the classes for which it is defined."""
        return {name: float(np.nanmean([entry.errors[name] for entry in self.classes.values()])) for name in ERRORS}

    @property
    def nds(self) -> float:
        """(5 · mAP + Σ max(0, 1 - error)) / 10."""
        return combine(self.mean_ap, self.errors)

    def details(self) -> dict[str, Any]:
        """The form in `metrics.json`: `classes` and `curves`, which are cut where a class gets no further."""
        return {
            "classes": {
                name: {
                    "ap": {str(threshold): value for threshold, value in entry.ap.items()},
                    "mean_ap": entry.mean_ap,
                    "errors": {error: None if np.isnan(value) else value for error, value in entry.errors.items()},
                    "ground_truth": entry.truth,
                    "predictions": entry.predictions,
                }
                for name, entry in self.classes.items()
            },
            "curves": {
                name: {str(threshold): _drawn(curve) for threshold, curve in entry.curves.items()}
                for name, entry in self.classes.items()
            },
        }


def combine(mean_ap: float, errors: Mapping[str, float]) -> float:
    """NDS from mAP and the mean errors."""
    scores = [max(0.0, 1.0 - errors[name]) for name in ERRORS]
    return float(MEAN_AP_WEIGHT * mean_ap + np.sum(scores)) / (MEAN_AP_WEIGHT + len(ERRORS))


def match_boxes(predictions: Boxes, truth: GroundTruth, protocol: DetectionProtocol) -> Matching:
    """Filter both sides as `protocol` says and match them at every threshold."""
    boxes, there = filter_predictions(predictions, truth, protocol), filter_truth(truth, protocol)
    pairs = find_pairs(boxes, there.boxes, limit_m=max(DISTANCES_M))
    order = rank_predictions(boxes)
    return rematch(boxes, there, pairs, order)


def rematch(predictions: Boxes, truth: GroundTruth, pairs: Pairs, order: Integers) -> Matching:
    """The matching under another ranking; both sides are filtered already."""
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    partners = np.stack(
        [
            match(pairs, rank, predictions=len(predictions), truth=len(truth.boxes), threshold_m=threshold)
            for threshold in DISTANCES_M
        ]
    )
    errors = np.full((len(predictions), len(ERRORS)), np.nan)
    matched = np.flatnonzero(partners[ERROR_COLUMN] != NO_PARTNER)
    partner = partners[ERROR_COLUMN, matched]
    errors[matched] = measure_errors(predictions.take(matched), truth.boxes.take(partner))
    return Matching(predictions=predictions, truth=truth, order=order, pairs=pairs, partners=partners, errors=errors)


def score(matching: Matching) -> Score:
    """The metrics of a matching."""
    return score_rows(matching, matching.order, truth=matching.truth.boxes.label)


def score_rows(matching: Matching, rows: Integers, *, truth: NDArray[np.int8], counted: Mask | None = None) -> Score:
    """The metrics over a part of the boxes, matched as they are in the whole.

    Args:
        rows: the predictions of the part ranked by confidence.
        truth: the labels of the ground truth of the part.
        counted: (4, N) which predictions count at each of DISTANCES_M; all of `rows` if None.
    """
    label = matching.predictions.label[rows]
    there = np.bincount(truth, minlength=len(CLASSES))
    return Score(
        classes={
            name: _score_class(matching, name, rows[label == index], truth=int(there[index]), counted=counted)
            for index, name in enumerate(CLASSES)
        }
    )


def _score_class(matching: Matching, name: str, rows: Integers, *, truth: int, counted: Mask | None) -> ClassScore:
    """One class; `rows` are its predictions ranked by confidence."""
    scores = matching.predictions.score[rows]
    positive = matching.partners[:, rows] != NO_PARTNER
    kept = None if counted is None else counted[:, rows]
    curves = {
        threshold: make_curve(positive[column], scores, truth=truth)
        if kept is None
        else make_curve(positive[column, kept[column]], scores[kept[column]], truth=truth)
        for column, threshold in enumerate(DISTANCES_M)
    }
    found = positive[ERROR_COLUMN] if kept is None else positive[ERROR_COLUMN] & kept[ERROR_COLUMN]
    means = mean_errors(curves[ERROR_DISTANCE_M], matching.errors[rows[found]], scores[found])
    left_out = UNDEFINED.get(name, ())
    return ClassScore(
        ap={threshold: average_precision(curve) for threshold, curve in curves.items()},
        errors={
            error: float("nan") if error in left_out else float(value)
            for error, value in zip(ERRORS, means, strict=True)
        },
        curves=curves,
        truth=truth,
        predictions=len(rows),
    )


def _drawn(curve: Curve) -> dict[str, list[float]]:
    """A curve up to the last recall reached, with six digits: it is only drawn."""
    columns = {"recall": RECALLS, "precision": curve.precision, "confidence": curve.confidence}
    return {name: [round(float(value), 6) for value in column[: curve.reached]] for name, column in columns.items()}
