"""COCO's average precision of boxes in images, computed by pycocotools.

The protocol is COCO's `bbox`: AP is the mean over classes and the IoU thresholds 0.50, 0.55, … 0.95 of the precision
interpolated at 101 recalls, at most 100 boxes an image; AP50 and AP75 at one threshold; APs, APm and APl of objects
below 32², up to 96² and above, in square pixels; AR1, AR10 and AR100 the best recall with that many boxes an image. A
value that is not defined, such as APs without small objects, is None. Boxes of a crowd are neither found nor missed.

Source: T.-Y. Lin et al., Microsoft COCO, ECCV 2014; pycocotools/cocoeval.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import RecordError
from admlops.evaluation.detection_2d.coco_run import make_evaluation, run_evaluation
from admlops.evaluation.detection_2d.protocols import COCO_PROTOCOL, SUMMARY
from admlops.evaluation.detection_2d.resampling import ImageMatches, read_matches, resample_coco
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.record import PartialRecord, Record

Boxes = NDArray[np.floating]
Image = tuple[str, str]
"""Sample token and camera."""


@dataclass(frozen=True, kw_only=True)
class ImageTruth:
    """The objects in an image: boxes (G, 4), x1 y1 x2 y2 [pixels], classes, and which are crowds (absent: none).

    `areas` (G,) [pixels²] say whether an object is small or large; absent: the boxes'.
    """

    boxes: Boxes
    classes: Sequence[str]
    crowd: NDArray[np.bool_] | None = None
    areas: Boxes | None = None


@dataclass(frozen=True, kw_only=True)
class ImagePrediction:
    """What was found in an image: boxes (P, 4), x1 y1 x2 y2 [pixels], classes, confidences, and ids in the record."""

    boxes: Boxes
    classes: Sequence[str]
    confidences: NDArray[np.floating]
    ids: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Boxes2DEvaluation:
    """COCO's twelve numbers and the AP of each class, by name; `images` were evaluated."""

    images: int
    values: Mapping[str, float | None]
    class_ap: Mapping[str, float | None]
    matches: Mapping[str, Sequence[ImageMatches]]

    protocol = COCO_PROTOCOL

    def metrics(self, dataset: str) -> list[Metric]:
        """The twelve numbers, then `AP_car` and so on."""
        named = {**self.values, **{f"AP_{name}": value for name, value in self.class_ap.items()}}
        return [
            Metric(name=name, protocol=COCO_PROTOCOL, value=value, n=self.images, dataset=dataset)
            for name, value in named.items()
        ]

    def details(self) -> dict[str, Any]:
        """Return nothing: the metrics say it all."""
        return {}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each image."""
        return resample_coco(self.matches, scenes, weights) if self.matches else {}


def evaluate_boxes_2d(
    images: Iterable[tuple[ImageTruth, ImagePrediction]], *, classes: Sequence[str]
) -> Boxes2DEvaluation:
    """Evaluate pairs of ground truth and prediction; `pair_images` makes them from records.

    Raises:
        RecordError: a class is not one of `classes`, or a confidence is not a number.
    """
    truths, predictions, count = _tables(images, classes)
    if not len(truths) and not len(predictions):
        undefined: dict[str, None] = dict.fromkeys(classes)
        return Boxes2DEvaluation(images=count, values=dict.fromkeys(SUMMARY), class_ap=undefined, matches={})
    evaluation = make_evaluation(truths, predictions, image_ids=range(1, count + 1), classes=classes)
    run_evaluation(evaluation, summarize=True)
    precision = evaluation.eval["precision"][:, :, :, 0, -1]  # thresholds, recalls, classes
    return Boxes2DEvaluation(
        images=count,
        values={name: _defined(value) for name, value in zip(SUMMARY, evaluation.stats.tolist(), strict=True)},
        class_ap={name: _mean_defined(precision[:, :, index]) for index, name in enumerate(classes)},
        matches=read_matches(evaluation, classes),
    )


def _tables(
    images: Iterable[tuple[ImageTruth, ImagePrediction]], classes: Sequence[str]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], int]:
    """COCO's lists of annotations and of results, and the number of images."""
    numbers = {name: index + 1 for index, name in enumerate(classes)}
    truths: list[dict[str, Any]] = []
    predictions: list[dict[str, Any]] = []
    count = 0
    for truth, found in images:
        count += 1
        crowd = np.zeros(len(truth.boxes), bool) if truth.crowd is None else truth.crowd
        for box, name, is_crowd in zip(np.asarray(truth.boxes).tolist(), truth.classes, crowd.tolist(), strict=True):
            entry = _entry(box, numbers, name, count)
            truths.append({**entry, "id": len(truths) + 1, "iscrowd": int(is_crowd)})
        if truth.areas is not None:
            for entry, area in zip(truths[len(truths) - len(truth.areas) :], truth.areas.tolist(), strict=True):
                entry["area"] = area
        if not np.isfinite(found.confidences).all():
            raise RecordError("a confidence of a 2D box is not a number", hint="mend convert() in the adapter")
        scores = np.asarray(found.confidences, dtype=float).tolist()
        for box, name, score in zip(np.asarray(found.boxes).tolist(), found.classes, scores, strict=True):
            predictions.append({**_entry(box, numbers, name, count), "id": len(predictions) + 1, "score": score})
    return truths, predictions, count


def _entry(box: Sequence[float], numbers: Mapping[str, int], name: str, image: int) -> dict[str, Any]:
    if name not in numbers:
        raise RecordError(
            f"{name!r} is not a class of this evaluation; the classes are {', '.join(numbers)}",
            hint="mend the class names in convert() of the adapter",
        )
    x1, y1, x2, y2 = box
    return {
        "image_id": image,
        "category_id": numbers[name],
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1),
        "iscrowd": 0,
    }


def _defined(value: float) -> float | None:
    """pycocotools says -1 where a value is not defined."""
    return None if value < 0 else float(value)


def _mean_defined(values: NDArray[np.floating]) -> float | None:
    defined = values[values > -1]
    return float(defined.mean()) if defined.size else None


def pair_images(
    truths: Mapping[Image, ImageTruth], records: Iterable[PartialRecord | Record]
) -> Iterator[tuple[ImageTruth, ImagePrediction]]:
    """Each image's ground truth with what the records found in it; a failed record found nothing.

    Raises:
        RecordError: a record names an image that is not in `truths`, a sample has two records, or has none.
    """
    by_sample: dict[str, list[Image]] = {}
    for image in truths:
        by_sample.setdefault(image[0], []).append(image)
    seen: set[str] = set()
    for record in records:
        token = record.metadata.sample_token
        found = predictions_by_camera(record)
        unknown = [camera for camera in found if (token, camera) not in truths]
        if token in seen or token not in by_sample or unknown:
            reason = "has two records" if token in seen else "is not among the images evaluated"
            camera = f" ({unknown[0]})" if unknown and token in by_sample else ""
            raise RecordError(f"sample {token}{camera} {reason}", hint=f"admlops results verify {record.metadata.run}")
        seen.add(token)
        for image in by_sample[token]:
            yield truths[image], found.get(image[1], NOTHING)
    if missing := [token for token in by_sample if token not in seen]:
        raise RecordError(
            f"no record of {len(missing)} of {count_of(len(by_sample), 'sample')}, such as {missing[0]}",
            hint="run the model on these samples: admlops run MODEL --run NAME --resume",
        )


NOTHING = ImagePrediction(boxes=np.zeros((0, 4)), classes=(), confidences=np.zeros(0))


def predictions_by_camera(record: PartialRecord | Record) -> dict[str, ImagePrediction]:
    """Return the boxes of a record by camera. Raises RecordError: a box is inside out."""
    detections: Any = record.detections_2d or []
    own: dict[str, list[Any]] = {}
    for one in detections:
        x1, y1, x2, y2 = one.bbox_xyxy
        if x2 < x1 or y2 < y1:
            meta = record.metadata
            raise RecordError(
                f"sample {meta.sample_token} ({meta.scene}), detection {one.id}: bbox_xyxy {one.bbox_xyxy} is not "
                "x1, y1, x2, y2 with x1 ≤ x2 and y1 ≤ y2",
                hint=f"mend convert() in the adapter of {meta.model_name} and run it again",
            )
        own.setdefault(one.camera, []).append(one)
    return {
        camera: ImagePrediction(
            boxes=np.array([one.bbox_xyxy for one in found], dtype=float),
            classes=tuple(one.class_name for one in found),
            confidences=np.array([one.confidence for one in found], dtype=float),
            ids=tuple(one.id for one in found),
        )
        for camera, found in own.items()
    }
