"""A run's lane graphs against the annotations of OpenLane-V2, under both of its protocols."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.context import Context
from admlops.evaluation.error_analysis import MatchedRun
from admlops.evaluation.lane_graph.error_analysis import match_run
from admlops.evaluation.lane_graph.lanes import LaneTruth, in_arrays, prediction_of
from admlops.evaluation.lane_graph.protocols import PROTOCOLS
from admlops.evaluation.lane_graph.scores import Frame, LaneGraphEvaluation, LaneScores
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.header import RunHeader
from admlops.results.record import PartialRecord

OFF_DISTRIBUTION = ".off-distribution"
"""Ends the protocol of a run on data that its model was not made for."""

ATTRIBUTES = (
    "unknown",
    "red",
    "green",
    "yellow",
    "go_straight",
    "turn_left",
    "turn_right",
    "no_left_turn",
    "no_right_turn",
    "u_turn",
    "no_u_turn",
    "slight_left",
    "slight_right",
)
"""Of traffic elements, by number (OpenLane-V2, data/README.md)."""


@dataclass(frozen=True, kw_only=True)
class LaneResult:
    """The lane graph metrics of a run; `protocol` is that of the evaluation, or it with OFF_DISTRIBUTION behind."""

    protocol: str
    evaluation: LaneGraphEvaluation

    def find_errors(self, ran: NDArray[np.bool_]) -> MatchedRun:
        """Classify every lane; `ran` (S,) says which frames have outputs."""
        return MatchedRun(match_run(self.evaluation), ran)

    def metrics(self, dataset: str) -> list[Metric]:
        """OLS and the four numbers that it is made of."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.evaluation.frames, dataset=dataset)
            for name, value in self.evaluation.values.items()
        ]

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each frame."""
        return self.evaluation.resample(scenes, weights)

    def details(self) -> dict[str, Any]:
        """AP by Fréchet threshold [m] and by attribute, and how far ties can move each number."""
        found = self.evaluation
        return {
            "protocol": self.protocol,
            "lane_ap": {str(threshold): value for threshold, value in found.lane_ap.items()},
            "element_ap": {ATTRIBUTES[number]: value for number, value in found.element_ap.items()},
            "tie_ranges": {name: list(ends) for name, ends in found.tie_ranges.items()},
        }


class FrameTable:
    """Compares the frames of a run as they come, under every protocol, and keeps what their scores need."""

    def __init__(self, context: Context) -> None:
        self._run = context.run
        self._truth_of = _truth_reader(context)
        self._scores = LaneScores(PROTOCOLS)
        self.frames: list[Frame] | None = [] if context.official else None
        """Every frame, where the official code is asked too."""

    def add(self, record: PartialRecord) -> None:
        """Take the next record.

        Raises:
            DataError: its frame is not in the data set, or has no annotation.
            RecordError: a relation does not have the shape of its lanes and traffic elements.
        """
        found = prediction_of(record, bounded=not self._run.header.is_submission)
        frame = self._truth_of(record.metadata.sample_token), found
        if self.frames is not None:
            frame = frame[0], in_arrays(frame[1])
            self.frames.append(frame)
        self._scores.add(frame)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what the scores need, for `extend` in another process."""
        return self._scores.to_arrays()

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append what a table of the records after these kept."""
        self._scores.extend(arrays)

    def finish(self, protocol: str) -> LaneResult:
        """Return the values of a protocol over all frames."""
        mark = _suffix(self._run.header)
        return LaneResult(protocol=protocol + mark, evaluation=self._scores.finish(protocol))


def _truth_reader(context: Context) -> Callable[[str], LaneTruth]:
    data: Any = context.data  # has the capability `lanes`

    def read(token: str) -> LaneTruth:
        return LaneTruth(**vars(data.lane_annotation(token)))

    return read


def _suffix(header: RunHeader) -> str:
    options = header.settings.get("options")
    return OFF_DISTRIBUTION if isinstance(options, dict) and options.get("off_distribution") else ""
