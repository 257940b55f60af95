"""How well cars are found: average precision, the best F1, and what holds at the model's operating threshold.

AP50 is COCO's average precision at an IoU of 0.5: the mean of the best precision at 101 recalls. F1 is 2 · right /
(found + there) over all images together; `best_F1` is the largest one of any threshold, so it judges detection and not
calibration. The operating threshold is the confidence that the model declares in its catalogue entry, chosen on other
images; without one the numbers at it are not defined, and never 0. The count score of an image is
1 - |found - there| / max(there, 1), at least 0, and `count_error` is |found - there|, both as means over the images.

Sources: T.-Y. Lin et al., Microsoft COCO, ECCV 2014 (AP); C. J. van Rijsbergen, Information Retrieval, 1979 (F1). The
count score is this project's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.detection_2d.matching import CarMatches, Integers, Mask, match_cars
from admlops.evaluation.detection_2d.protocols import AT_THRESHOLD, CAR_IOU, ClassSet
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth
from admlops.evaluation.error_analysis import UNMATCHED
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.ap_resampling import resample_hundred_points
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

MOST_THRESHOLDS = 512
"""How many thresholds resamples search for the best F1; that lowers it by some 10⁻⁴."""

UNDECLARED = "the model declares no operating threshold ([detection_2d] operating_threshold in its model.toml)"


@dataclass(frozen=True, kw_only=True)
class CarDetectionEvaluation:
    """The boxes of a class set against its ground truth.

    Attributes:
        threshold: the confidence from which boxes count; None where the model declares none.
        values: by name; None where not defined.
        best_threshold: the confidence with the best F1, the highest of equals; None where nothing is right.
    """

    classes: ClassSet
    matches: CarMatches
    threshold: float | None
    values: Mapping[str, float | None]
    best_threshold: float | None

    @property
    def protocol(self) -> str:
        return self.classes.protocol

    @property
    def images(self) -> int:
        return self.matches.images

    @property
    def why_undefined(self) -> str | None:
        """Say why there are no numbers at a threshold; None where there are."""
        return UNDECLARED if self.threshold is None else None

    def metrics(self, dataset: str) -> list[Metric]:
        """`AP50`, `best_F1` and the numbers at the operating threshold."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.images, dataset=dataset)
            for name, value in self.values.items()
        ]

    def counts(self, threshold: float) -> Integers:
        """(I, 3) of each image: how many are there, how many were found from a threshold on, how many are right."""
        own = self.matches
        found = own.counted & (own.confidence >= threshold)
        columns = [np.bincount(own.image[mask], minlength=own.images) for mask in (found, found & own.right)]
        return np.stack([own.truth, *columns], axis=1)

    def details(self) -> dict[str, Any]:
        """The thresholds, and the counts over all images at each of them."""
        shape: dict[str, Any] = {
            "class_set": list(self.classes.names),
            "nms_iou": self.classes.nms_iou,
            "operating_threshold": self.threshold,
            "best_threshold": self.best_threshold,
        }
        for key, threshold in (("at_threshold", self.threshold), ("at_best", self.best_threshold)):
            if threshold is not None:
                there, found, right = self.counts(threshold).sum(axis=0).tolist()
                shape[key] = {"right": right, "wrong": found - right, "missed": there - right}
        if len(self.matches.precision):
            shape["curves"] = {self.classes.title: {f"{CAR_IOU:g}": _curve(self.matches.precision)}}
        if self.why_undefined is not None:
            shape["not_applicable"] = dict.fromkeys(AT_THRESHOLD, self.why_undefined)
        return shape

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each image."""
        own = self.matches
        truth = np.bincount(scenes, weights=own.truth, minlength=weights.shape[1]).astype(np.int64)
        at = own.counted
        scene = scenes[own.image[at]]
        values = {
            "AP50": resample_hundred_points(own.confidence[at], own.right[at], scene, truth, weights),
            "best_F1": _resample_best(own.confidence[at], own.right[at], scene, truth, weights),
        }
        if self.threshold is not None:
            ratios = resample_ratios(*_ratios(self.counts(self.threshold)), scenes, weights)
            values |= dict(zip(AT_THRESHOLD, ratios.T, strict=True))
        return values


def evaluate_cars(
    pairs: Sequence[tuple[ImageTruth, ImagePrediction]], classes: ClassSet, *, threshold: float | None
) -> CarDetectionEvaluation:
    """Evaluate pairs of ground truth and prediction.

    Raises:
        RecordError: a confidence is not a number.
    """
    matches = match_cars(pairs, classes)
    best, at = find_best_f1(matches.confidence, matches.right, matches.counted, truth=len(matches.truth_image))
    evaluation = CarDetectionEvaluation(
        classes=classes, matches=matches, threshold=threshold, values={}, best_threshold=at
    )
    ap = float(matches.precision.mean()) if len(matches.precision) else None
    values: dict[str, float | None] = {"AP50": ap, "best_F1": best, **dict.fromkeys(AT_THRESHOLD)}
    if threshold is not None:
        above, below = (part.sum(axis=0).tolist() for part in _ratios(evaluation.counts(threshold)))
        values |= {name: a / b if b else None for name, a, b in zip(AT_THRESHOLD, above, below, strict=True)}
    return CarDetectionEvaluation(
        classes=classes, matches=matches, threshold=threshold, values=values, best_threshold=at
    )


def _curve(precision: NDArray[np.float64]) -> dict[str, list[float]]:
    """The best precision at or above each of 101 recalls, up to the last recall reached."""
    reached = np.flatnonzero(precision > 0)
    upto = int(reached[-1]) + 1 if len(reached) else 0
    recall = [round(step / 100, 2) for step in range(upto)]
    return {"recall": recall, "precision": [round(value, 6) for value in precision[:upto].tolist()]}


def find_best_f1(
    confidence: NDArray[np.float64], right: Mask, counted: Mask, *, truth: int
) -> tuple[float | None, float | None]:
    """The largest F1 of any threshold and that threshold, the highest of equals.

    F1 is None where there is neither an object nor a box that counts, the threshold where nothing is right.
    """
    if not counted.any():
        return (0.0 if truth else None), None
    own, hits = confidence[counted], right[counted]
    order = np.argsort(-own, kind="stable")
    ranked = own[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))  # a threshold keeps all of equal confidence
    f1 = 2 * np.cumsum(hits[order])[last] / (last + 1 + truth)
    best = int(np.argmax(f1))
    return float(f1[best]), float(ranked[last[best]]) if f1[best] > 0 else None


def _resample_best(
    confidence: NDArray[np.float64], right: Mask, scene: Scenes, truth: NDArray[np.integer], weights: Weights
) -> Values:
    """The best F1 in each resample, (R,); NaN where there is nothing at all."""
    often = weights.astype(np.float64)
    there = often @ truth
    order = np.argsort(-confidence, kind="stable")
    ranked = confidence[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True)) if len(order) else np.zeros(0, np.int64)
    if len(last) > MOST_THRESHOLDS:
        last = last[np.unique(np.linspace(0, len(last) - 1, MOST_THRESHOLDS).round().astype(np.int64))]
    if not len(last):
        return np.where(there > 0, 0.0, np.nan)
    cell = np.searchsorted(last, np.arange(len(order))) * weights.shape[1] + scene[order]
    size = (len(last) + 1, weights.shape[1])

    def count(cells: NDArray[np.int64]) -> Values:
        up_to = np.bincount(cells, minlength=size[0] * size[1]).reshape(size)[:-1].cumsum(axis=0)
        counts: Values = often @ up_to.T.astype(np.float64)
        return counts

    found, hits = count(cell), count(cell[right[order]])
    below = found + there[:, np.newaxis]
    f1 = np.divide(2 * hits, below, out=np.zeros_like(below), where=below > 0)
    best: Values = np.where(below.max(axis=1) > 0, f1.max(axis=1), np.nan)
    return best


def _ratios(counts: Integers) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """What each image adds to the numerators and the denominators of AT_THRESHOLD, (images, 5) each."""
    there, found, right = counts.T.astype(np.float64)
    error = np.abs(found - there)
    each = np.ones_like(there)
    score = np.maximum(0.0, 1.0 - error / np.maximum(there, 1))
    above = np.stack([2 * right, right, right, score, error], axis=1)
    return above, np.stack([found + there, found, there, each, each], axis=1)


@dataclass(frozen=True, kw_only=True)
class PictureErrors:
    """The cars of one image at a threshold: places among its predictions, and among its ground truth."""

    right: tuple[int, ...]
    wrong: tuple[int, ...]
    missed: tuple[int, ...]
    found: tuple[int, ...]


def find_picture_errors(matches: CarMatches, threshold: float) -> list[PictureErrors]:
    """Classify the boxes and objects of every image; boxes that only overlap a crowd are left out."""
    shown = matches.counted & (matches.confidence >= threshold)
    taken = np.zeros(len(matches.truth_row), np.bool_)
    has = matches.truth_row != UNMATCHED
    taken[has] = shown[matches.truth_row[has]]

    def split(image: Integers, place: Integers, mask: Mask) -> list[list[int]]:
        parts: list[list[int]] = [[] for _ in range(matches.images)]
        for one, own in zip(image[mask].tolist(), place[mask].tolist(), strict=True):
            parts[one].append(own)
        return parts

    parts = (
        split(matches.image, matches.place, shown & matches.right),
        split(matches.image, matches.place, shown & ~matches.right),
        split(matches.truth_image, matches.truth_place, ~taken),
        split(matches.truth_image, matches.truth_place, taken),
    )
    return [
        PictureErrors(right=tuple(a), wrong=tuple(b), missed=tuple(c), found=tuple(d))
        for a, b, c, d in zip(*parts, strict=True)
    ]
