"""Boxes of one class matched with its ground truth at one IoU, by pycocotools' rule.

In order of confidence a box takes the free object that it overlaps most, if by the IoU at least; at most 100 boxes of
an image count. A box that only overlaps a crowd is neither right nor wrong. Source: pycocotools/cocoeval.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import RecordError
from admlops.evaluation.detection_2d.coco_run import make_evaluation, run_evaluation
from admlops.evaluation.detection_2d.counting import box_iou
from admlops.evaluation.detection_2d.protocols import CAR_IOU, ClassSet
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth
from admlops.evaluation.error_analysis import UNMATCHED

Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]
MOST_BOXES = 100


@dataclass(frozen=True, kw_only=True)
class CarMatches:
    """The N boxes of a class set in I images, image after image, the surest first in each; and the G objects.

    Attributes:
        images: how many there are.
        image: (N,) the box's image, from 0.
        place: (N,) its place among the image's predictions.
        confidence: (N,).
        right: (N,) whether it took an object.
        counted: (N,) whether it counts at all: not one that only overlaps a crowd.
        truth_image: (G,) the image of each object that counts.
        truth_place: (G,) its place among the image's ground truth.
        truth_row: (G,) the row of the box that took it, or UNMATCHED.
        precision: (101,) the best precision from each recall on; empty without ground truth.
    """

    images: int
    image: Integers
    place: Integers
    confidence: NDArray[np.float64]
    right: Mask
    counted: Mask
    truth_image: Integers
    truth_place: Integers
    truth_row: Integers
    precision: NDArray[np.float64]

    @property
    def truth(self) -> Integers:
        """(I,) how many objects each image has."""
        return np.bincount(self.truth_image, minlength=self.images)


def match_cars(pairs: Sequence[tuple[ImageTruth, ImagePrediction]], classes: ClassSet) -> CarMatches:
    """Match the boxes of a class set, all as one class.

    Raises:
        RecordError: a confidence is not a number.
    """
    truths: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    for number, (truth, found) in enumerate(pairs):
        crowd = np.zeros(len(truth.boxes), bool) if truth.crowd is None else truth.crowd
        for place in np.flatnonzero(_of(classes, truth.classes)).tolist():
            entry = _entry(truth.boxes[place], number, place)
            truths.append({**entry, "iscrowd": int(crowd[place]), "id": len(truths) + 1})
        for place in keep_cars(found, classes).tolist():
            entry = _entry(found.boxes[place], number, place)
            predictions.append({**entry, "score": float(found.confidences[place]), "id": len(predictions) + 1})
    evaluation = _run_coco(truths, predictions, len(pairs))
    return _read(evaluation, truths, predictions, len(pairs))


def keep_cars(found: ImagePrediction, classes: ClassSet) -> Integers:
    """The places of an image's boxes of a class set; of overlapping ones the surest, where the set merges classes.

    Raises:
        RecordError: a confidence is not a number.
    """
    if not np.isfinite(found.confidences).all():
        raise RecordError("a confidence of a 2D box is not a number", hint="mend convert() in the adapter")
    own = np.flatnonzero(_of(classes, found.classes))
    if classes.nms_iou is None or len(own) < 2:
        return own
    order = own[np.argsort(-found.confidences[own], kind="stable")]
    overlap = box_iou(found.boxes[order], found.boxes[order]) > classes.nms_iou
    kept: list[int] = []
    for row in range(len(order)):
        if not overlap[row, kept].any():
            kept.append(row)
    return np.sort(order[kept])


def _of(classes: ClassSet, names: Sequence[str]) -> Mask:
    return np.array([name in classes.names for name in names], dtype=np.bool_)


def _entry(box: NDArray[np.floating], image: int, place: int) -> dict[str, Any]:
    x1, y1, x2, y2 = np.asarray(box, dtype=float).tolist()
    return {
        "image_id": image,
        "category_id": 1,
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
        "place": place,
    }


def _run_coco(truths: list[dict[str, Any]], predictions: list[dict[str, Any]], images: int) -> Any:
    evaluation = make_evaluation(truths, predictions, image_ids=range(images), classes=("car",))
    evaluation.params.iouThrs = np.array([CAR_IOU])
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0.0, 1e10]], ["all"]
    evaluation.params.maxDets = [MOST_BOXES]
    if images and (truths or predictions):
        run_evaluation(evaluation)
    return evaluation


def _read(
    evaluation: Any, truths: Sequence[dict[str, Any]], predictions: Sequence[dict[str, Any]], images: int
) -> CarMatches:
    rows: list[tuple[int, int, float, bool, bool]] = []
    there: list[tuple[int, int, int]] = []
    for one in getattr(evaluation, "evalImgs", None) or []:
        if one is None:
            continue
        row_of: dict[int, int] = {}
        for index, identifier in enumerate(one["dtIds"]):
            own = predictions[identifier - 1]
            is_ignored = bool(one["dtIgnore"][0, index])
            row_of[identifier] = len(rows)
            right = one["dtMatches"][0, index] != 0 and not is_ignored
            rows.append((own["image_id"], own["place"], own["score"], right, not is_ignored))
        for index, identifier in enumerate(one["gtIds"]):
            if not one["gtIgnore"][index]:
                own = truths[identifier - 1]
                taker = row_of.get(int(one["gtMatches"][0, index]), UNMATCHED)
                there.append((own["image_id"], own["place"], taker))
    image, place, confidence, right, counted = zip(*rows, strict=True) if rows else ((),) * 5
    truth_image, truth_place, truth_row = zip(*there, strict=True) if there else ((),) * 3
    precision = np.zeros(0)
    if there:
        precision = np.asarray(evaluation.eval["precision"][0, :, 0, 0, 0], dtype=np.float64)
    return CarMatches(
        images=images,
        image=np.array(image, dtype=np.int64),
        place=np.array(place, dtype=np.int64),
        confidence=np.array(confidence, dtype=np.float64),
        right=np.array(right, dtype=np.bool_),
        counted=np.array(counted, dtype=np.bool_),
        truth_image=np.array(truth_image, dtype=np.int64),
        truth_place=np.array(truth_place, dtype=np.int64),
        truth_row=np.array(truth_row, dtype=np.int64),
        precision=precision,
    )
