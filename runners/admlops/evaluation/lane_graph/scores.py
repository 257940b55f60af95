"""OpenLane-V2's metrics of a lane graph: DET_l, DET_t, TOP_ll, TOP_lt and their summary OLS.

DET_l is the mean AP of lane centrelines by discrete Fréchet distance at 1, 2 and 3 m, DET_t the mean AP of traffic
elements over their attributes by 1 - IoU at 0.75. TOP_ll and TOP_lt are the mean AP of a vertex's edges, over vertices,
directions, thresholds and frames: see `lane_topology`. OLS is the mean of DET_l, DET_t, √TOP_ll and √TOP_lt. Two
protocols are kept apart, because the devkit changed the TOP scores from 1.0 to 1.1 (2.1 computes as 1.1).

A distance to a ground-truth lane shrinks with that lane's distance d from the ego vehicle, by max(0.5, 1 - 0.005 d
[m]). Each prediction belongs to its nearest ground truth, the first of equals; in order of confidence it is a true
positive if that distance is below the threshold and the ground truth not taken; there is no second choice. AP is the
mean of the best precision at recall ≥ 0, 0.1, … 1. An attribute that neither side has in the whole set has AP 1.

Source: openlanev2 1.0.0 and 1.1.0, evaluation/evaluate.py and distance.py, with the arithmetic of NumPy 1 (recall in
single precision meets its thresholds in single precision). Two differences. The devkit's Chamfer gate is left out: the
Chamfer distance is never larger than the Fréchet distance, and its limit is the largest threshold. Equal confidences
keep their order here, where the devkit leaves it to the machine; `tie_ranges` says how far that can move each number.

Frames come one after another and are let go, so that memory does not grow with the 300 × 300 matrices of a data set.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from admlops.evaluation.lane_graph.lanes import LanePrediction, LaneTruth
from admlops.evaluation.lane_graph.matching import (
    ATTRIBUTES,
    Matches,
    join_matches,
    match_elements,
    match_lanes,
    matches_from_arrays,
    matches_to_arrays,
)
from admlops.evaluation.lane_graph.protocols import OPENLANE_1_0, OPENLANE_1_1, PROTOCOLS
from admlops.evaluation.lane_graph.topology import TopologyScore
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.ap_resampling import resample_eleven_points
from admlops.evaluation.statistics.bootstrap import Scenes, Values, Weights
from admlops.evaluation.statistics.ordering import order_descending, order_ties

THRESHOLDS_FRECHET_M = (1.0, 2.0, 3.0)
THRESHOLD_IOU_DISTANCE = 0.75
FRAMES_AT_ONCE = 64

Range = tuple[float, float]
Floats = NDArray[np.float64]
Known = TypeVar("Known")
Frame = tuple[LaneTruth, LanePrediction]


@dataclass(frozen=True, kw_only=True)
class LaneGraphEvaluation:
    """The metrics, by name, and for each the lowest and highest value that orders of equal confidences can give.

    `lane_ap` is by Fréchet threshold [m], `element_ap` by attribute number; `matches` are the lanes', in the frames'
    order, and `scores` is what everything is computed from. `tie_ranges` is exact for DET_l and DET_t; for the others
    it is an outer bound, wide where ties decide which prediction takes a ground truth.
    """

    protocol: str
    frames: int
    values: Mapping[str, float]
    tie_ranges: Mapping[str, Range]
    lane_ap: Mapping[float, float]
    element_ap: Mapping[int, float]
    matches: Sequence[Matches]
    scores: _Scores

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """By metric the values in resamples of scenes; `scenes` holds the scene of each frame."""
        return self.scores.resample(scenes, weights)

    def metrics(self, dataset: str) -> list[Metric]:
        """OLS and the four numbers it is made of."""
        return [
            Metric(name=name, protocol=self.protocol, value=value, n=self.frames, dataset=dataset)
            for name, value in self.values.items()
        ]


def evaluate_lane_graphs(frames: Iterable[Frame], *, protocol: str = OPENLANE_1_1) -> LaneGraphEvaluation:
    """Evaluate pairs of ground truth and prediction; `lanes.pair_frames` makes them from records.

    Raises:
        ValueError: the protocol is neither of PROTOCOLS.
    """
    return evaluate_lane_protocols(frames, (protocol,))[protocol]


def evaluate_lane_protocols(frames: Iterable[Frame], protocols: Sequence[str]) -> dict[str, LaneGraphEvaluation]:
    """The same under several protocols, in one pass over the frames.

    Raises:
        ValueError: one of the protocols is not in PROTOCOLS.
    """
    scores = LaneScores(protocols)
    for frame in frames:
        scores.add(frame)
    return {protocol: scores.finish(protocol) for protocol in protocols}


class LaneScores:
    """Compares frames as they come, FRAMES_AT_ONCE together. The matches are the same under every protocol.

    Raises:
        ValueError: one of the protocols is not in PROTOCOLS.
    """

    def __init__(self, protocols: Sequence[str]) -> None:
        for protocol in protocols:
            if protocol not in PROTOCOLS:
                raise ValueError(f"{protocol!r} is not one of {', '.join(PROTOCOLS)}")
        self._kept = _Kept()
        self._scores = {protocol: _Scores(kept=self._kept, averaged=protocol == OPENLANE_1_0) for protocol in protocols}
        self._waiting: list[Frame] = []

    def add(self, frame: Frame) -> None:
        """Take the next frame."""
        self._waiting.append(frame)
        if len(self._waiting) == FRAMES_AT_ONCE:
            self._compare()

    def finish(self, protocol: str) -> LaneGraphEvaluation:
        """Return the values of a protocol over all frames."""
        self._compare()
        return self._scores[protocol].finish(protocol)

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return what was kept of the frames, for `extend` in another process."""
        self._compare()
        arrays: dict[str, NDArray[Any]] = {"frames": np.array(self._kept.frames)}
        for name, parts in self._kept.matches().items():
            own = matches_to_arrays(join_matches(parts)) if parts else {}
            arrays |= {f"{name}.{key}": value for key, value in own.items()}
        for protocol, score in self._scores.items():
            arrays |= {f"{protocol}.{name}": one.table for name, one in score.topologies().items()}
        return arrays

    def extend(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Append what other scores, of the same protocols, kept of the frames after these."""
        self._compare()
        first, frames = self._kept.frames, int(arrays["frames"])
        for name, parts in self._kept.matches().items():
            begin = f"{name}."
            if frames:
                own = {key.removeprefix(begin): arrays[key] for key in arrays if key.startswith(begin)}
                parts.append(matches_from_arrays(own))
        for protocol, score in self._scores.items():
            for name, one in score.topologies().items():
                one.extend(arrays[f"{protocol}.{name}"], first=first)
        self._kept.frames += frames

    def _compare(self) -> None:
        if not self._waiting:
            return
        chunk, self._waiting = self._waiting, []
        matches = _match_chunk(chunk)
        for score in self._scores.values():
            score.add(chunk, matches)
        self._kept.add(matches, len(chunk))


@dataclass(frozen=True, kw_only=True)
class _ChunkMatches:
    """Which predictions took which ground truth in some frames: lanes, elements of one attribute, and of any."""

    lanes: Matches
    elements: Matches
    any_element: Matches


def _match_chunk(chunk: Sequence[Frame]) -> _ChunkMatches:
    truths, predictions = [truth for truth, _ in chunk], [prediction for _, prediction in chunk]
    return _ChunkMatches(
        lanes=match_lanes(truths, predictions, THRESHOLDS_FRECHET_M),
        elements=match_elements(truths, predictions, THRESHOLD_IOU_DISTANCE, same_attribute=True),
        any_element=match_elements(truths, predictions, THRESHOLD_IOU_DISTANCE, same_attribute=False),
    )


@dataclass
class _Kept:
    """What stays of the frames under every protocol: hits and confidences."""

    frames: int = 0
    lanes: list[Matches] = field(default_factory=list)
    elements: list[Matches] = field(default_factory=list)
    _known: dict[Hashable, Any] = field(default_factory=dict)

    def once(self, key: Hashable, compute: Callable[[], Known]) -> Known:
        """Return what `compute` gives, computed once for all protocols as long as no frames are added."""
        key = (self.frames, key)
        if key not in self._known:
            self._known[key] = compute()
        return cast("Known", self._known[key])

    def average_precision(
        self, name: str, index: int, attribute: int | None
    ) -> tuple[np.float32, np.float32, np.float32]:
        """The AP of `lanes` or `elements` at threshold `index`: lowest, value, highest."""
        parts = self.matches()[name]
        return self.once((name, index, attribute), lambda: _average_precision(parts, index, attribute=attribute))

    def resample_ap(
        self, name: str, index: int, attribute: int | None, draws: tuple[Scenes, Weights, Hashable]
    ) -> Values:
        """The same in resamples of scenes; the last of `draws` tells them from others."""
        scenes, weights, drawn = draws
        parts = self.matches()[name]
        return self.once(
            (name, index, attribute, drawn), lambda: _resample_ap(parts, index, attribute, scenes, weights)
        )

    def add(self, matches: _ChunkMatches, frames: int) -> None:
        self.frames += frames
        self.lanes.append(matches.lanes)
        self.elements.append(matches.elements)

    def matches(self) -> dict[str, list[Matches]]:
        return {"lanes": self.lanes, "elements": self.elements}


@dataclass
class _Scores:
    """One protocol's sums of the topology scores, beside what is kept under every one."""

    kept: _Kept
    averaged: bool
    lane_topology: TopologyScore = field(default_factory=TopologyScore)
    element_topology: TopologyScore = field(default_factory=TopologyScore)

    def topologies(self) -> dict[str, TopologyScore]:
        return {"lane_topology": self.lane_topology, "element_topology": self.element_topology}

    def add(self, chunk: Sequence[Frame], matches: _ChunkMatches) -> None:
        elements = matches.any_element.by_frame(0, averaged=self.averaged)
        for index in range(len(THRESHOLDS_FRECHET_M)):
            lanes = matches.lanes.by_frame(index, averaged=self.averaged)
            self.lane_topology.add(
                [(t.lane_to_lane, p.lane_to_lane) for t, p in chunk],
                lanes,
                lanes,
                averaged=self.averaged,
                first=self.kept.frames,
            )
            self.element_topology.add(
                [(t.lane_to_traffic, p.lane_to_traffic) for t, p in chunk],
                lanes,
                elements,
                averaged=self.averaged,
                first=self.kept.frames,
            )

    def resample(self, scenes: Scenes, weights: Weights) -> dict[str, Values]:
        """The five numbers in resamples of scenes."""
        draws = (scenes, weights, (scenes.tobytes(), weights.tobytes()))
        lanes = [self.kept.resample_ap("lanes", index, None, draws) for index in range(len(THRESHOLDS_FRECHET_M))]
        elements = [self.kept.resample_ap("elements", 0, attribute, draws) for attribute in ATTRIBUTES]
        parts = {
            "DET_l": np.mean(lanes, axis=0),
            "DET_t": np.mean(elements, axis=0),
            "TOP_ll": self.lane_topology.resample(scenes, weights),
            "TOP_lt": self.element_topology.resample(scenes, weights),
        }
        return {"OLS": _score(parts), **parts}

    def finish(self, protocol: str) -> LaneGraphEvaluation:
        lane_aps = [self.kept.average_precision("lanes", index, None) for index in range(len(THRESHOLDS_FRECHET_M))]
        element_aps = [self.kept.average_precision("elements", 0, attribute) for attribute in ATTRIBUTES]
        low, value, high = (
            self._values([ap[k] for ap in lane_aps], [ap[k] for ap in element_aps], k) for k in range(3)
        )
        return LaneGraphEvaluation(
            protocol=protocol,
            frames=self.kept.frames,
            scores=self,
            values=value,
            tie_ranges={name: (low[name], high[name]) for name in value},
            lane_ap={t: float(ap[1]) for t, ap in zip(THRESHOLDS_FRECHET_M, lane_aps, strict=True)},
            element_ap={a: float(ap[1]) for a, ap in zip(ATTRIBUTES, element_aps, strict=True)},
            matches=tuple(self.kept.lanes),
        )

    def _values(self, lanes: list[np.float32], elements: list[np.float32], which: int) -> dict[str, float]:
        """The five numbers; `which` is 0 for the lowest, 1 for the number itself, 2 for the highest."""
        parts = {
            "DET_l": float(np.asarray(lanes).mean()),
            "DET_t": float(np.asarray(elements).mean()),
            "TOP_ll": self.lane_topology.mean()[which],
            "TOP_lt": self.element_topology.mean()[which],
        }
        return {"OLS": float(_score(parts)), **parts}


def _score(parts: Mapping[str, Any]) -> Any:
    """OLS of its four parts, numbers or arrays of them."""
    return np.mean([part**0.5 if name.startswith("TOP") else part for name, part in parts.items()], axis=0)


def _resample_ap(
    matches: Sequence[Matches], index: int, attribute: int | None, scenes: Scenes, weights: Weights
) -> Values:
    """AP at threshold `index` in resamples of scenes."""
    ours = [part.select(index, attribute) for part in matches]
    frames, truths = (
        np.concatenate([np.zeros(0, np.int64), *(part.frames_of(attribute)[side] for part in matches)])
        for side in (0, 1)
    )
    starts = np.cumsum([0, *(len(part.first) - 1 for part in matches)])[:-1]
    found = np.repeat(starts, [len(confidence) for confidence, _, _ in ours]) + frames
    there = np.repeat(starts, [count for _, _, count in ours]) + truths
    return resample_eleven_points(
        np.concatenate([np.zeros(0, np.float32), *(confidence for confidence, _, _ in ours)]),
        np.concatenate([np.zeros(0, bool), *(hits for _, hits, _ in ours)]),
        scenes[found],
        np.bincount(scenes[there], minlength=weights.shape[1]),
        weights,
    )


def _average_precision(
    matches: Sequence[Matches], index: int, *, attribute: int | None
) -> tuple[np.float32, np.float32, np.float32]:
    """AP at threshold `index` over all frames: with true positives last among equals, in order, and first."""
    ours = [part.select(index, attribute) for part in matches]
    truth = sum(count for _, _, count in ours)
    confidences = np.concatenate([np.zeros(0, np.float32), *(confidence for confidence, _, _ in ours)])
    positive = np.concatenate([np.zeros(0, bool), *(hits for _, hits, _ in ours)])
    if not truth and not len(positive):
        return (np.float32(1),) * 3
    order = order_descending(confidences)
    value = _eleven_points(positive[order], truth)
    tied = order_ties(confidences[order], positive[order])
    if tied is None:
        return value, value, value
    low, high = (_eleven_points(hits, truth) for hits in tied)
    return low, value, high


def _eleven_points(positive: NDArray[np.bool_], truth: int) -> np.float32:
    """The mean of the best precision at recalls of at least 0, 0.1, … 1, in single precision throughout."""
    tiny = np.finfo(np.float32).eps
    tp, fp = np.cumsum(positive.astype(np.float32)), np.cumsum((~positive).astype(np.float32))
    recall = tp / np.float32(max(float(truth), float(tiny)))
    precision = tp / np.maximum(tp + fp, tiny)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], np.float32(0))
    total = np.float32(0)
    for threshold in np.arange(0, 1 + 1e-3, 0.1).astype(np.float32):
        total += best[np.searchsorted(recall, threshold)]
    return np.float32(total / np.float32(11))
