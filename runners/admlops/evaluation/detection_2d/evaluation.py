"""A run's boxes in images against COCO ground truth: average precision, and how well the model counts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.detection_2d.coco_truth import CocoTruth, read_coco
from admlops.evaluation.detection_2d.counting import CountingEvaluation, evaluate_counting
from admlops.evaluation.detection_2d.scores import Boxes2DEvaluation, evaluate_boxes_2d, pair_images
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder

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

    def metrics(self, dataset: str) -> list[Metric]:
        """The values, their protocol with the ground truth's digest behind."""
        file = self.truth.sha256[:DIGITS]
        return [replace(one, protocol=f"{one.protocol}@{file}") for one in self.evaluation.metrics(dataset)]

    def details(self) -> dict[str, Any]:
        """What was compared: the file, how many of the run's pictures it has, and counts."""
        details = self.evaluation.details() if isinstance(self.evaluation, CountingEvaluation) else {}
        images = {"images": len(self.truth.images), "pictures": self.truth.cameras}
        return {"truth_sha256": self.truth.sha256, **images, **details}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples; `scenes` holds the scene of each sample of the run."""
        return self.evaluation.resample(scenes[self.sample], weights)


def evaluate_images(run: RunFolder, truth_2d: Path, samples: Mapping[str, Mapping[str, Any]]) -> dict[str, ImageResult]:
    """The results by their key in `details`; pictures that the file does not have are left out.

    Raises:
        DataError: see `coco_truth.read_coco`.
        RecordError: a record is not one, or a class is not one of the file's.
    """
    truth = read_coco(truth_2d, samples)
    pairs = list(pair_images(truth.images, _known_images(run, truth)))
    number = {token: index for index, token in enumerate(samples)}
    each = [image[0] for image in truth.images]
    # As `pair_images` gives them: sample after sample.
    sample = np.array(sorted(number[token] for token in each), dtype=np.int64)
    counted = (COUNTED,) if COUNTED in truth.classes else truth.classes
    evaluations: dict[str, Boxes2DEvaluation | CountingEvaluation] = {
        "boxes_2d": evaluate_boxes_2d(pairs, classes=truth.classes),
        "counting": evaluate_counting(pairs, classes=counted),
    }
    return {key: ImageResult(evaluation=own, truth=truth, sample=sample) for key, own in evaluations.items()}


def _known_images(run: RunFolder, truth: CocoTruth) -> Iterator[Record]:
    """The records of samples that have ground truth, without what was found in other pictures."""
    tokens = {token for token, _ in truth.images}
    for record in run.records():
        token = record.metadata.sample_token
        if token in tokens:
            kept = [one for one in record.detections_2d or () if (token, one.camera) in truth.images]
            yield msgspec.structs.replace(record, detections_2d=kept)
