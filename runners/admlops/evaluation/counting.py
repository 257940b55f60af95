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

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.boxes_2d import ImagePrediction, ImageTruth
from admlops.evaluation.metrics import Metric

COUNTING_PROTOCOL = "counting.iou0.5-confidence0.5"
MIN_CONFIDENCE = 0.5
MIN_IOU = 0.5
NAMES = ("count_score", "count_error", "precision", "recall", "F1")

Boxes = NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class CountingEvaluation:
    """By class, then by name: `count_score`, `count_error`, `precision`, `recall`, `F1`; None where not defined."""

    images: int
    classes: Mapping[str, Mapping[str, float | None]]

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
    return CountingEvaluation(images=images_seen, classes={name: _summarize(own) for name, own in counts.items()})


def _count(truth: ImageTruth, found: ImagePrediction, name: str) -> tuple[int, int, int]:
    """How many are there, how many were found, how many of those are right."""
    own = np.array([kind == name for kind in truth.classes], dtype=bool)
    if truth.crowd is not None:
        own &= ~truth.crowd
    sure = np.array([kind == name for kind in found.classes], dtype=bool) & (found.confidences >= MIN_CONFIDENCE)
    order = np.argsort(-found.confidences[sure], kind="stable")
    return int(own.sum()), int(sure.sum()), _match(found.boxes[sure][order], truth.boxes[own])


def _match(found: Boxes, there: Boxes) -> int:
    """How many boxes take one, each the free one that it overlaps most."""
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


def _summarize(counts: Sequence[tuple[int, int, int]]) -> dict[str, float | None]:
    if not counts:
        return dict.fromkeys(NAMES)
    there, found, right = np.array(counts).T
    error = np.abs(found - there)
    precision = float(right.sum() / found.sum()) if found.sum() else None
    recall = float(right.sum() / there.sum()) if there.sum() else None
    total = int(found.sum() + there.sum())
    return {
        "count_score": float(np.maximum(0.0, 1.0 - error / np.maximum(there, 1)).mean()),
        "count_error": float(error.mean()),
        "precision": precision,
        "recall": recall,
        "F1": float(2 * right.sum() / total) if total else None,
    }
