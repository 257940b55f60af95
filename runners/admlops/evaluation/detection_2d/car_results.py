"""A run's cars in images: each class set against boxes, or numbers of cars against numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.base import HasCounts
from admlops.evaluation.context import Context
from admlops.evaluation.detection_2d.car_counts import CountEvaluation, evaluate_counts
from admlops.evaluation.detection_2d.car_detection import (
    CarDetectionEvaluation,
    PictureErrors,
    evaluate_cars,
    find_picture_errors,
)
from admlops.evaluation.detection_2d.evaluation import ImageResult, ImageTable, pair_pictures, samples_of
from admlops.evaluation.detection_2d.matching import keep_cars
from admlops.evaluation.detection_2d.protocols import CAR, ClassSet
from admlops.evaluation.detection_2d.scores import ImagePrediction, ImageTruth
from admlops.evaluation.detection_2d.truth import read_truth
from admlops.evaluation.error_analysis import DEFAULT_CONFIDENCE, TaskErrors
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights

MAX_PICTURES = 50
"""How many pictures with most errors `details` holds, with all boxes."""

Pairs = Sequence[tuple[ImageTruth, ImagePrediction]]


@dataclass(frozen=True, kw_only=True)
class CarResult(ImageResult):
    """The cars of a class set; `pairs` are the images in the order of `sample`, `places` their tokens and cameras."""

    cars: CarDetectionEvaluation
    pairs: Pairs
    scene: Sequence[str]

    @property
    def shown_threshold(self) -> float:
        """The confidence at which single boxes are judged: the operating threshold, else the one with the best F1."""
        declared, best = self.cars.threshold, self.cars.best_threshold
        return declared if declared is not None else best if best is not None else DEFAULT_CONFIDENCE

    def details(self) -> dict[str, Any]:
        """What was compared, the thresholds, counts, and the pictures with most errors with all boxes."""
        errors = find_picture_errors(self.cars.matches, self.shown_threshold)
        count = np.array([len(one.wrong) + len(one.missed) for one in errors], dtype=np.int64)
        order = np.argsort(-count, kind="stable")[:MAX_PICTURES]
        pictures = [*self.truth.images]
        listed = [_describe(pictures[i], self.scene[i], self.pairs[i], errors[i]) for i in order.tolist()]
        return {**super().details(), "shown_threshold": self.shown_threshold, "pictures": len(errors), "worst": listed}

    def find_errors(self, ran: NDArray[np.bool_]) -> CarErrors:
        """Classify the boxes of every sample; `ran` (S,) says which samples have outputs."""
        return CarErrors(self, ran)


class CarErrors:
    """The cars of a run that are wrong or missed, sample by sample."""

    def __init__(self, result: CarResult, ran: NDArray[np.bool_]) -> None:
        self.operating_points: Mapping[str, float] = {result.cars.classes.title: result.shown_threshold}
        self._of: dict[int, list[tuple[str, ImagePrediction, PictureErrors]]] = {}
        errors = find_picture_errors(result.cars.matches, result.shown_threshold)
        self.counts = np.zeros(len(ran), np.int64)
        for (_, camera), sample, (_, found), own in zip(
            result.truth.images, result.sample.tolist(), result.pairs, errors, strict=True
        ):
            if ran[sample]:
                self._of.setdefault(sample, []).append((camera, found, own))
                self.counts[sample] += len(own.wrong) + len(own.missed)

    def of_sample(self, sample: int) -> TaskErrors:
        """Return the boxes of one sample: ids of the record, and `camera/place` of missed cars."""
        own = self._of.get(sample, [])
        return TaskErrors(
            matched=tuple(found.ids[place] for _, found, errors in own for place in errors.right),
            missed=tuple(f"{camera}/{place}" for camera, _, errors in own for place in errors.missed),
            false_alarms=tuple(found.ids[place] for _, found, errors in own for place in errors.wrong),
        )


def _describe(
    picture: tuple[str, str], scene: str, pair: tuple[ImageTruth, ImagePrediction], errors: PictureErrors
) -> dict[str, Any]:
    """One picture with its boxes [pixels], for a page that draws it."""
    truth, found = pair

    def boxes(places: Sequence[int]) -> list[dict[str, Any]]:
        return [
            {
                "box": [round(float(value), 1) for value in found.boxes[place]],
                "class": found.classes[place],
                "confidence": round(float(found.confidences[place]), 4),
            }
            for place in places
        ]

    def objects(places: Sequence[int]) -> list[list[float]]:
        return [[round(float(value), 1) for value in truth.boxes[place]] for place in places]

    token, camera = picture
    return {
        "sample_token": token,
        "scene": scene,
        "camera": camera,
        "right": boxes(errors.right),
        "wrong": boxes(errors.wrong),
        "missed": objects(errors.missed),
        "found": objects(errors.found),
    }


def evaluate_car_table(table: ImageTable, context: Context, classes: ClassSet) -> CarResult:
    """Evaluate the boxes of a class set; pictures that the ground truth does not have are left out.

    Raises:
        DataError: see `truth.read_truth`; or none of the classes is annotated.
        RecordError: a confidence is not a number.
    """
    truth = read_truth(context)
    if not set(classes.names) & set(truth.classes):
        raise DataError(
            f"the ground truth has no {' or '.join(classes.names)}: its classes are {', '.join(truth.classes)}",
            hint="name the category car in the file, as COCO and nuScenes do",
        )
    pairs = context.share("detection_2d.all_pairs", lambda: pair_pictures(table, truth, context))
    cars = evaluate_cars(pairs, classes, threshold=context.thresholds.get("detection_2d"))
    sample = samples_of(truth, context)
    scene = [context.metadata[index].scene for index in sample.tolist()]
    return CarResult(evaluation=cars, truth=truth, sample=sample, cars=cars, pairs=pairs, scene=scene)


@dataclass(frozen=True, kw_only=True)
class CountResult:
    """Numbers of cars against numbers of boxes; `sample` (I,) is the index of each picture's sample in the run."""

    evaluation: CountEvaluation
    sample: NDArray[np.int64]

    @property
    def protocol(self) -> str:
        return self.evaluation.protocol

    def metrics(self, dataset: str) -> list[Metric]:
        """The values."""
        return [replace(one, protocol=self.protocol) for one in self.evaluation.metrics(dataset)]

    def details(self) -> dict[str, Any]:
        """How many cars and boxes there are."""
        return {"pictures": len(self.sample), **self.evaluation.details()}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples; `scenes` holds the scene of each sample of the run."""
        return self.evaluation.resample(scenes[self.sample], weights)


def evaluate_count_table(table: ImageTable, context: Context) -> CountResult:
    """Compare numbers of boxes with the data set's numbers of cars; pictures that nobody counted are left out.

    Raises:
        DataError: no picture has a number.
    """
    data = cast("HasCounts", context.data)
    threshold = context.thresholds.get("detection_2d")
    rows: list[tuple[int, int]] = []
    sample: list[int] = []
    for index, token in enumerate(context.tokens):
        counts = data.object_counts(token)
        if counts is None:
            continue
        there = sum(counts.get(name, 0) for name in CAR.names)
        rows.append((there, _count_boxes(table.records[index], threshold)))
        sample.append(index)
    if not rows:
        raise DataError(
            f"nobody counted the cars of the run's pictures in {context.data.root}",
            hint=f"admlops data check {context.data.root}",
        )
    evaluation = evaluate_counts(np.array(rows, dtype=np.int64), threshold=threshold)
    return CountResult(evaluation=evaluation, sample=np.array(sample, dtype=np.int64))


def _count_boxes(record: Mapping[str, ImagePrediction], threshold: float | None) -> int:
    if threshold is None:
        return 0
    return sum(int((found.confidences[keep_cars(found, CAR)] >= threshold).sum()) for found in record.values())
