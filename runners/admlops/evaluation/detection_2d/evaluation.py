"""A run's boxes in images against COCO ground truth: average precision, and how well the model counts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.context import Context
from admlops.evaluation.detection_2d.coco_truth import CocoTruth, read_coco
from admlops.evaluation.detection_2d.counting import CountingEvaluation, evaluate_counting
from admlops.evaluation.detection_2d.protocols import COCO_PROTOCOL
from admlops.evaluation.detection_2d.scores import (
    NOTHING,
    Boxes2DEvaluation,
    ImagePrediction,
    ImageTruth,
    evaluate_boxes_2d,
    predictions_by_camera,
)
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.record import PartialRecord

COUNTED = "car"
"""The class whose objects are counted; without it, every class of the ground truth."""

DIGITS = 12


@dataclass(frozen=True, kw_only=True)
class ImageResult:
    """One protocol over the images; `sample` (images,) is the index of each one's sample in the run.

    The ground truth is not the data set's but a file's, so the file's digest is part of the protocol.
    """

    evaluation: Boxes2DEvaluation | CountingEvaluation
    truth: CocoTruth
    sample: NDArray[np.int64]

    @property
    def protocol(self) -> str:
        return f"{self.evaluation.protocol}@{self.truth.sha256[:DIGITS]}"

    def metrics(self, dataset: str) -> list[Metric]:
        """The values, their protocol with the ground truth's digest behind."""
        return [replace(one, protocol=self.protocol) for one in self.evaluation.metrics(dataset)]

    def details(self) -> dict[str, Any]:
        """Return what was compared: the file, how many of the run's pictures it has, and counts."""
        details = self.evaluation.details() if isinstance(self.evaluation, CountingEvaluation) else {}
        images = {"images": len(self.truth.images), "pictures": self.truth.cameras}
        return {"truth_sha256": self.truth.sha256, **images, **details}

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


def evaluate_table(table: ImageTable, context: Context, protocol: str) -> ImageResult:
    """Evaluate boxes under a protocol; pictures that the file does not have are left out.

    Raises:
        DataError: see `coco_truth.read_coco`.
        RecordError: a class is not one of the file's.
    """
    assert context.truth_2d is not None, "an evaluation that needs a COCO file was begun without one"
    path = context.truth_2d
    truth = context.share("detection_2d.truth", lambda: read_coco(path, context.samples))
    number = {token: index for index, token in enumerate(context.tokens)}
    pairs = context.share("detection_2d.pairs", lambda: _pair(table, truth, number))
    sample = np.array([number[token] for token, _ in truth.images], dtype=np.int64)
    evaluation: Boxes2DEvaluation | CountingEvaluation
    if protocol == COCO_PROTOCOL:
        evaluation = evaluate_boxes_2d(pairs, classes=truth.classes)
    else:
        evaluation = evaluate_counting(pairs, classes=(COUNTED,) if COUNTED in truth.classes else truth.classes)
    return ImageResult(evaluation=evaluation, truth=truth, sample=sample)


def _pair(table: ImageTable, truth: CocoTruth, number: Mapping[str, int]) -> list[tuple[ImageTruth, ImagePrediction]]:
    """Return each image's ground truth with what was found in it, in the order of the images' ids."""
    return [(own, table.records[number[token]].get(camera, NOTHING)) for (token, camera), own in truth.images.items()]
