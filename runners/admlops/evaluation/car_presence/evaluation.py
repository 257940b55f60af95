"""What a run says of cars in whole pictures, against boxes or against numbers of cars."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.base import HasCounts
from admlops.evaluation.car_presence.scores import PresenceEvaluation, evaluate_presence
from admlops.evaluation.context import Context
from admlops.evaluation.detection_2d.evaluation import DIGITS
from admlops.evaluation.detection_2d.protocols import CAR
from admlops.evaluation.detection_2d.truth import read_truth
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.record import PartialRecord

Picture = tuple[str, str]
"""Sample token and camera."""


class PresenceTable:
    """The score of each picture of a run: a classifier's, or a detector's surest car."""

    def __init__(self) -> None:
        self.scores: dict[str, dict[str, float]] = {}
        self.is_classifier = False

    def add(self, record: PartialRecord) -> None:
        """Take the next record; a picture without an answer has the score 0."""
        own = self.scores.setdefault(record.metadata.sample_token, {})
        if record.car_presence is not UNSET:
            self.is_classifier = True
            own.update({one.camera: float(one.score) for one in record.car_presence})
        elif record.detections_2d is not UNSET:
            for one in record.detections_2d:
                if one.class_name in CAR.names:
                    own[one.camera] = max(own.get(one.camera, 0.0), float(one.confidence))


@dataclass(frozen=True, kw_only=True)
class PresenceResult:
    """The evaluation over pictures; `sample` (I,) is the index of each one's sample in the run.

    `truth_sha256` is that of the boxes, None where numbers of cars are the truth; `scored_by` is a classifier or the
    surest car of a detector.
    """

    evaluation: PresenceEvaluation
    sample: NDArray[np.int64]
    truth_sha256: str | None
    scored_by: str

    @property
    def protocol(self) -> str:
        truth = "counts" if self.truth_sha256 is None else self.truth_sha256[:DIGITS]
        return f"{self.evaluation.protocol}@{truth}"

    def metrics(self, dataset: str) -> list[Metric]:
        """The values; their protocol ends with the ground truth's digest."""
        return [replace(one, protocol=self.protocol) for one in self.evaluation.metrics(dataset)]

    def details(self) -> dict[str, Any]:
        """What was compared, and what gave the scores."""
        return {"truth_sha256": self.truth_sha256, "scored_by": self.scored_by, **self.evaluation.details()}

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples; `scenes` holds the scene of each sample of the run."""
        return self.evaluation.resample(scenes[self.sample], weights)


def evaluate_table(table: PresenceTable, context: Context) -> PresenceResult:
    """Evaluate the scores of a run; pictures without ground truth are left out.

    Raises:
        DataError: there is no ground truth, or it cannot be read.
    """
    of_boxes = context.has_boxes_2d
    truth = _from_boxes(context) if of_boxes else dict(_from_counts(context))
    number = {token: index for index, token in enumerate(context.tokens)}
    known = {picture: there for picture, there in truth.items() if there is not None}
    if not known:
        raise DataError(
            f"of none of the run's pictures in {context.data.root} it is known whether it shows a car",
            hint=f"admlops data check {context.data.root}",
        )
    evaluation = evaluate_presence(
        np.array([table.scores[token].get(camera, 0.0) for token, camera in known]),
        np.array([*known.values()], dtype=np.bool_),
        threshold=context.thresholds.get("car_presence" if table.is_classifier else "detection_2d"),
        left_out=len(truth) - len(known),
    )
    return PresenceResult(
        evaluation=evaluation,
        sample=np.array([number[token] for token, _ in known], dtype=np.int64),
        truth_sha256=read_truth(context).sha256 if of_boxes else None,
        scored_by="a classifier" if table.is_classifier else "the surest car of a detector",
    )


def _from_boxes(context: Context) -> dict[Picture, bool | None]:
    """Whether a picture has a car; None where it only has regions in which cars are not told apart."""
    found: dict[Picture, bool | None] = {}
    for picture, own in read_truth(context).images.items():
        cars = np.array([name in CAR.names for name in own.classes], dtype=np.bool_)
        crowd = np.zeros(len(cars), np.bool_) if own.crowd is None else own.crowd
        found[picture] = True if (cars & ~crowd).any() else None if (cars & crowd).any() else False
    return found


def _from_counts(context: Context) -> Iterator[tuple[Picture, bool | None]]:
    data = cast("HasCounts", context.data)
    for token in context.tokens:
        counts: Mapping[str, int] | None = data.object_counts(token)
        for camera in context.samples[token]["cameras"]:
            yield (token, camera), None if counts is None else any(counts.get(name, 0) > 0 for name in CAR.names)
