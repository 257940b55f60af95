"""How well a detector counts: the count score of a class, and precision, recall and F1 of its boxes.

The count score of an image is 1 - |found - there| / max(there, 1), at least 0; the score of a class is the mean over
the images. A box counts from a confidence of 0.5 on; in order of confidence it is right if the free box of its class
that it overlaps most has an IoU of at least 0.5. Precision, recall and F1 are over all images together; where a
denominator is 0 the value is None. `count_error` is the mean of |found - there|. Crowds are left out.

The definition is this project's own: counting has no official evaluator.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.detection_2d.protocols import COUNTING_PROTOCOL, COUNTS
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights, resample_ratios

MIN_CONFIDENCE = 0.5
MIN_IOU = 0.5

Boxes = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class CountingEvaluation:
    """By class, then by name: `count_score`, `count_error`, `precision`, `recall`, `F1`; None where not defined."""

    images: int
    classes: Mapping[str, Mapping[str, float | None]]
    counts: Mapping[str, NDArray[np.int64]]
    """By class, of each image, (images, 3): how many are there, how many were found, how many of those are right."""

    protocol = COUNTING_PROTOCOL

    def details(self) -> dict[str, Any]:
        """The counts of each class over all images."""
        names = ("there", "found", "right")
        return {kind: dict(zip(names, own.sum(axis=0).tolist(), strict=True)) for kind, own in self.counts.items()}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each image."""
        return {
            f"{name}_{kind}": values
            for kind, counts in self.counts.items()
            for name, values in zip(COUNTS, resample_ratios(*_ratios(counts), scenes, weights).T, strict=True)
        }

    def metrics(self, dataset: str) -> list[Metric]:
        """`count_score_car` and so on."""
        return [
            Metric(name=f"{name}_{kind}", protocol=COUNTING_PROTOCOL, value=value, n=self.images, dataset=dataset)
            for kind, values in self.classes.items()
            for name, value in values.items()
        ]


def evaluate_counting(
    images: Iterable[tuple[ImageTruth, ImagePrediction]], *, classes: Sequence[str] = ("car",)
) -> CountingEvaluation:
    """Evaluate pairs of ground truth and prediction, as `boxes_2d.pair_images` makes them."""
    counts: dict[str, list[tuple[int, int, int]]] = {name: [] for name in classes}
    images_seen = 0
    for truth, found in images:
        images_seen += 1
        for name in classes:
            counts[name].append(_count(truth, found, name))
    arrays = {name: np.array(own, dtype=np.int64).reshape(-1, 3) for name, own in counts.items()}
    return CountingEvaluation(
        images=images_seen, classes={name: _summarize(own) for name, own in arrays.items()}, counts=arrays
    )


def _count(truth: ImageTruth, found: ImagePrediction, name: str) -> tuple[int, int, int]:
    """Count how many are there, how many were found, how many of those are right."""
    own = np.array([kind == name for kind in truth.classes], dtype=bool)
    if truth.crowd is not None:
        own &= ~truth.crowd
    sure = np.array([kind == name for kind in found.classes], dtype=bool) & (found.confidences >= MIN_CONFIDENCE)
    order = np.argsort(-found.confidences[sure], kind="stable")
    return int(own.sum()), int(sure.sum()), _match(found.boxes[sure][order], truth.boxes[own])


def _match(found: Boxes, there: Boxes) -> int:
    """Count how many boxes take one, each the free one that it overlaps most."""
    if not len(found) or not len(there):
        return 0
    iou = box_iou(found, there)
    hits = 0
    for row in range(len(found)):
        best = int(iou[row].argmax())
        if iou[row, best] >= MIN_IOU:
            hits += 1
            iou[:, best] = -1.0
    return hits


def box_iou(a: Boxes, b: Boxes) -> NDArray[np.float64]:
    """The IoU of boxes (A, 4) and (B, 4), x1 y1 x2 y2, as (A, B); 0 where neither has an area."""
    low, high = np.maximum(a[:, np.newaxis, :2], b[:, :2]), np.minimum(a[:, np.newaxis, 2:], b[:, 2:])
    inter = np.prod(np.maximum(high - low, 0.0), axis=2)
    area_a, area_b = (np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) for boxes in (a, b))
    union = area_a[:, np.newaxis] + area_b - inter
    iou: NDArray[np.float64] = np.divide(inter, union, out=np.zeros_like(union, dtype=float), where=union > 0)
    return iou


def _ratios(counts: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return what each image adds to the numerators and the denominators of COUNTS, (images, 5) each."""
    there, found, right = counts.T.astype(np.float64)
    error = np.abs(found - there)
    each = np.ones_like(there)
    score = np.maximum(0.0, 1.0 - error / np.maximum(there, 1))
    above = np.stack([score, error, right, right, 2 * right], axis=1)
    return above, np.stack([each, each, found, there, found + there], axis=1)


def _summarize(counts: NDArray[np.int64]) -> dict[str, float | None]:
    above, below = (part.sum(axis=0).tolist() for part in _ratios(counts))
    return {name: a / b if b else None for name, a, b in zip(COUNTS, above, below, strict=True)}
