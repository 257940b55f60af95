"""A run's boxes in images against ground truth: average precision, and how well the model counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.evaluation.context import Context
from admlops.evaluation.detection_2d.class_names import translate
from admlops.evaluation.detection_2d.coco_truth import CocoTruth
from admlops.evaluation.detection_2d.counting import evaluate_counting
from admlops.evaluation.detection_2d.protocols import COCO_PROTOCOL
from admlops.evaluation.detection_2d.scores import (
    NOTHING,
    ImagePrediction,
    ImageTruth,
    evaluate_boxes_2d,
    predictions_by_camera,
)
from admlops.evaluation.detection_2d.truth import list_truth_notes, read_truth
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.record import PartialRecord

COUNTED = "car"
"""The class whose objects are counted; without it, every class of the ground truth."""

DIGITS = 12
MAX_NAMED = 5


class ImageScores(Protocol):
    """The values of one protocol over images."""

    @property
    def protocol(self) -> str: ...
    def metrics(self, dataset: str) -> list[Metric]: ...
    def details(self) -> dict[str, Any]: ...
    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each image."""


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One protocol over the images; `sample` (images,) is the index of each one's sample in the run.

    The ground truth may be a file's instead of the data set's, so its digest is part of the protocol.
    """

    evaluation: ImageScores
    truth: CocoTruth
    sample: NDArray[np.int64]

    @property
    def protocol(self) -> str:
        return f"{self.evaluation.protocol}@{self.truth.sha256[:DIGITS]}"

    def metrics(self, dataset: str) -> list[Metric]:
        """The values; their protocol ends with the ground truth's digest."""
        return [replace(one, protocol=self.protocol) for one in self.evaluation.metrics(dataset)]

    def details(self) -> dict[str, Any]:
        """Return what was compared: the file, how many of the run's pictures it has, and counts."""
        images = {"images": len(self.truth.images), "pictures": self.truth.cameras}
        return {"truth_sha256": self.truth.sha256, **images, **self.evaluation.details()}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples; `scenes` holds the scene of each sample of the run."""
        return self.evaluation.resample(scenes[self.sample], weights)


class ImageTable:
    """The boxes in images of a run, record after record: by camera."""

    def __init__(self) -> None:
        self.records: list[dict[str, ImagePrediction]] = []

    def add(self, record: PartialRecord) -> None:
        """Take the next record. Raises RecordError: a box is inside out."""
        self.records.append(predictions_by_camera(record))

    def notes(self, context: Context) -> list[str]:
        """Say how many pictures are not annotated, and how many boxes are of classes that nobody annotated."""
        if not context.has_boxes_2d or not any(self.records):
            return []
        try:
            truth = read_truth(context)
        except DataError:
            return []  # that it is not evaluated, and why, is said elsewhere
        found = Counter(name for record in self.records for own in record.values() for name in own.classes)
        meant = translate(found, truth.classes)
        beside = Counter({name: count for name, count in found.items() if name not in meant})
        renamed = [f"{name} counts as {other}" for name, other in meant.items() if name != other]
        said = [_name_beside(beside)] if beside else []
        return [*list_truth_notes(context), *renamed, *said]


def evaluate_table(table: ImageTable, context: Context, protocol: str) -> ImageResult:
    """Evaluate boxes under a protocol; pictures and classes that the ground truth does not have are left out.

    Raises:
        DataError: see `truth.read_truth`.
    """
    truth = read_truth(context)
    pairs = context.share("detection_2d.pairs", lambda: _keep_known(pair_pictures(table, truth, context), truth))
    sample = samples_of(truth, context)
    evaluation: ImageScores
    if protocol == COCO_PROTOCOL:
        evaluation = evaluate_boxes_2d(pairs, classes=truth.classes)
    else:
        evaluation = evaluate_counting(pairs, classes=(COUNTED,) if COUNTED in truth.classes else truth.classes)
    return ImageResult(evaluation=evaluation, truth=truth, sample=sample)


def _name_beside(beside: Counter[str]) -> str:
    named = ", ".join(name for name, _ in beside.most_common(MAX_NAMED))
    more = f" and {len(beside) - MAX_NAMED} more" if len(beside) > MAX_NAMED else ""
    return f"left out: {count_of(beside.total(), 'box')} of classes that the ground truth lacks: {named}{more}"


def samples_of(truth: CocoTruth, context: Context) -> NDArray[np.int64]:
    """The index of each image's sample in the run, (images,)."""
    number = {token: index for index, token in enumerate(context.tokens)}
    return np.array([number[token] for token, _ in truth.images], dtype=np.int64)


def pair_pictures(table: ImageTable, truth: CocoTruth, context: Context) -> list[tuple[ImageTruth, ImagePrediction]]:
    """Return each image's ground truth with what was found in it, in the order of the images' ids."""
    number = {token: index for index, token in enumerate(context.tokens)}
    return [(own, table.records[number[token]].get(camera, NOTHING)) for (token, camera), own in truth.images.items()]


def _keep_known(
    pairs: list[tuple[ImageTruth, ImagePrediction]], truth: CocoTruth
) -> list[tuple[ImageTruth, ImagePrediction]]:
    """Leave out what was found of classes that are not annotated: it is neither right nor wrong."""
    meant = translate((name for _, found in pairs for name in found.classes), truth.classes)
    return [(own, _keep(found, meant)) for own, found in pairs]


def _keep(found: ImagePrediction, meant: Mapping[str, str]) -> ImagePrediction:
    kept = np.array([name in meant for name in found.classes], dtype=np.bool_)
    return ImagePrediction(
        boxes=found.boxes[kept],
        classes=tuple(meant[name] for name in found.classes if name in meant),
        confidences=found.confidences[kept],
    )
