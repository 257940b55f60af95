"""A run's lane graphs against the annotations of OpenLane-V2, under both of its protocols."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset
from admlops.datasets.openlane.frames import OpenLaneV2
from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth, pair_frames
from admlops.evaluation.lane_graph.scores import (
    OPENLANE_1_0,
    OPENLANE_1_1,
    LaneGraphEvaluation,
    evaluate_lane_protocols,
)
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder

OFF_DISTRIBUTION = ".off-distribution"
"""Ends the protocol of a run on data that its model was not made for."""

KEYS = {OPENLANE_1_1: "lane_graph", OPENLANE_1_0: "lane_graph_1_0"}
"""Protocol → its key in `details` of metrics.json."""

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


def evaluate_lanes(run: RunFolder, data: Dataset, tokens: Sequence[str]) -> dict[str, LaneResult]:
    """The results by their key in `details`; `tokens` are the samples of the run's records.

    Raises:
        UsageError: the data set has no lane graphs.
        DataError: a frame is not in the data set, or has no annotation.
        RecordError: a record is not one.
    """
    return {
        KEYS[protocol]: LaneResult(protocol=protocol + _mark(run.header), evaluation=evaluation)
        for protocol, evaluation in evaluate_lane_protocols(pair_lanes(run, data, tokens), tuple(KEYS)).items()
    }


def pair_lanes(run: RunFolder, data: Dataset, tokens: Sequence[str]) -> Iterator[tuple[LaneTruth, LanePrediction]]:
    """Ground truth and prediction of each frame, one after another. Raises as `evaluate_lanes`."""
    if not isinstance(data, OpenLaneV2):
        raise UsageError(
            f"the records of run {run.header.run} hold lane graphs, and {data.kind} has none to compare them with",
            hint=f"admlops run {run.header.model} --data DIR   # with an OpenLane-V2 data set in DIR",
        )
    return pair_frames(_Truths(data, tokens), run.records())


class _Truths(Mapping[str, LaneTruth]):
    """The ground truth of frames by token, each read when it is asked for."""

    def __init__(self, data: OpenLaneV2, tokens: Sequence[str]) -> None:
        self._data = data
        self._tokens = dict.fromkeys(tokens)

    def __getitem__(self, token: str) -> LaneTruth:
        if token not in self._tokens:
            raise KeyError(token)
        return LaneTruth(**vars(self._data.lane_annotation(token)))

    def __contains__(self, token: object) -> bool:
        return token in self._tokens

    def __iter__(self) -> Iterator[str]:
        return iter(self._tokens)

    def __len__(self) -> int:
        return len(self._tokens)


def _mark(header: RunHeader) -> str:
    options = header.settings.get("options")
    return OFF_DISTRIBUTION if isinstance(options, dict) and options.get("off_distribution") else ""
