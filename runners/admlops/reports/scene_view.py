"""One sample as it is drawn: what is there, what was predicted, and which of both agree.

Agreement is the evaluation's own (`evaluation.worst`): a box within 2 m of one of its class, a map element within 1 m
Chamfer distance, a lane within 2 m Fréchet distance, each above the confidence that the evaluation chose for its class.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import UnsetType

from admlops.core.errors import AdmlopsError
from admlops.core.nuscenes_classes import CLASS_RANGES_M, MAP_CLASSES
from admlops.datasets.annotations import GroundTruthBox, LaneAnnotation
from admlops.datasets.base import HasBoxes3D, HasLanes, HasMap
from admlops.datasets.nuscenes.vector_map import PATCH_SIZE_M, MapVector, patch_to_ego, sample_vectors
from admlops.evaluation.detection_3d.error_analysis import match_sample as match_boxes
from admlops.evaluation.error_analysis import find_errors
from admlops.evaluation.lane_graph.error_analysis import LANE, match_frame
from admlops.evaluation.lane_graph.lanes import LaneTruth, prediction_of
from admlops.evaluation.vector_map.element_table import read_predictions
from admlops.evaluation.vector_map.error_analysis import class_match
from admlops.evaluation.vector_map.scores import match_sample
from admlops.reports.geometry import Points
from admlops.results.record import Detection3D, Lane, MapElement, Record

BOX_RANGE_M = 50.0
LANE_RANGE_M = (50.0, 25.0)
"""How far OpenLane-V2 annotates lanes ahead and behind, and to each side, in the ego frame."""
SHOWN_CONFIDENCE = 0.3
"""The least confidence drawn where no evaluation has chosen one."""

Role = Literal["hit", "miss", "false_alarm", "unknown"]
"""`unknown` is a prediction whose ground truth is out of reach: it is neither right nor wrong."""

Cutoffs = Mapping[str, Mapping[str, float]]
"""Task (`detection`, `map`) → class → least confidence, as `operating_points` in `metrics.json`."""


class Samples(Protocol):
    """The least that a report needs of a data set; what else it draws depends on the data set's capabilities."""

    @property
    def root(self) -> Path:
        """The folder that holds `maps/`, where there are any."""

    def sample(self, token: str) -> dict[str, Any]: ...


@dataclass(frozen=True, kw_only=True)
class Box:
    """A box to draw, in the ego frame: centre [m], width, length, height [m], quaternion w x y z."""

    label: str
    center: tuple[float, float, float]
    size_wlh: tuple[float, float, float]
    rotation_wxyz: tuple[float, float, float, float]
    is_truth: bool
    role: Role


@dataclass(frozen=True, kw_only=True)
class Line:
    """A map element or lane to draw: a polyline (N, 2) on the ground of the ego frame, or (N, 3) [m]."""

    label: str
    kind: str
    points: Points
    is_truth: bool
    role: Role


@dataclass(frozen=True, kw_only=True)
class SceneView:
    """Everything to draw of one sample. `sample` is None without access to the data set; `notes` says what is missing.

    `points` (N, 3) are the LiDAR's in the ego frame [m], where they are to be drawn.
    """

    token: str
    scene: str
    model: str
    sample: dict[str, Any] | None
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    points: Points | None = None

    @property
    def window(self) -> Points:
        """The corners (4, 2) in the ego frame [m] of what is evaluated: a map's window is centred on the LiDAR."""
        if any(line.kind == LANE for line in self.lines):
            ahead, aside = LANE_RANGE_M
            return np.array([[ahead, -aside], [ahead, aside], [-ahead, aside], [-ahead, -aside]])
        ahead, aside = PATCH_SIZE_M[0] / 2, PATCH_SIZE_M[1] / 2
        corners = np.array([[aside, ahead], [-aside, ahead], [-aside, -ahead], [aside, -ahead]])
        if self.sample is None or "lidar" not in self.sample:
            return np.column_stack([corners[:, 1], -corners[:, 0]])
        return patch_to_ego(corners, self.sample)

    def count(self, role: Role) -> int:
        """Count how many misses, false alarms, or hits (counted once, at the prediction)."""
        things: list[Box | Line] = [*self.boxes, *self.lines]
        return sum(thing.role == role and not (role == "hit" and thing.is_truth) for thing in things)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What a data set has of one sample; None where it has none, or where it is out of reach: `notes` says why.

    Attributes:
        sample: as docs/architecture.md shows it.
        boxes, lanes: in the ego frame.
        vectors: map elements in the patch frame.
    """

    sample: dict[str, Any] | None = None
    boxes: Sequence[GroundTruthBox] | None = None
    vectors: Sequence[MapVector] | None = None
    lanes: LaneAnnotation | None = None
    notes: tuple[str, ...] = ()


def load_truth(token: str, data: Samples | None, *, with_map: bool) -> Truth:
    """Read a sample and its ground truth; what the data set cannot give is left out and said in `notes`."""
    if data is None:
        note = "The data set is not at hand, so pictures and ground truth are missing. Next: pass --data ROOT."
        return Truth(notes=(note,))
    found = Truth()
    try:
        sample = data.sample(token)
        found = replace(found, sample=sample)
        if isinstance(data, HasBoxes3D):
            found = replace(found, boxes=data.ground_truth(token))
        if isinstance(data, HasMap) and with_map:
            found = replace(found, vectors=sample_vectors(data.root / "maps", data.location(token), sample))
        if isinstance(data, HasLanes):
            found = replace(found, lanes=data.lane_annotation(token))
    except AdmlopsError as error:
        found = replace(found, notes=(f"Ground truth is missing: {error.message}. Next: {error.hint}",))
    return found


def view_sample(record: Record, data: Samples | None, *, cutoffs: Cutoffs | None = None) -> SceneView:
    """The view of one record; what the data set cannot give is left out and said in `notes`."""
    with_map = not isinstance(record.map_elements, UnsetType)
    return view_record(record, load_truth(record.metadata.sample_token, data, with_map=with_map), cutoffs=cutoffs)


def view_record(record: Record, truth: Truth, *, cutoffs: Cutoffs | None = None) -> SceneView:
    """The view of one record against the ground truth of its sample."""
    limits = cutoffs or {}
    view = compose_view(
        record, sample=truth.sample, truth=truth.boxes, vectors=truth.vectors, notes=truth.notes, cutoffs=limits
    )
    return replace(view, lines=(*view.lines, *_view_lanes(record, truth.lanes, limits.get("map", {}))))


def compose_view(
    record: Record,
    *,
    sample: dict[str, Any] | None,
    truth: Sequence[GroundTruthBox] | None,
    vectors: Sequence[MapVector] | None,
    notes: Sequence[str] = (),
    cutoffs: Cutoffs,
) -> SceneView:
    """The view of a record against ground truth: every box and map element with its role.

    `truth` (ego frame) and `vectors` (patch frame) are None where they are out of reach. Ground truth of a task that
    the record does not answer is not a miss and is left out.
    """
    meta = record.metadata
    said = list(notes)
    lines: tuple[Line, ...] = ()
    try:
        lines = _view_lines(record, sample, vectors, cutoffs.get("map", {}))
    except AdmlopsError as error:
        said.append(f"Map elements are left out: {error.message}. Next: {error.hint}")
    return SceneView(
        token=meta.sample_token,
        scene=meta.scene,
        model=meta.model_name,
        sample=sample,
        boxes=_view_boxes(record, truth, cutoffs.get("detection", {})),
        lines=lines,
        notes=tuple(said),
    )


def _view_boxes(
    record: Record, truth: Sequence[GroundTruthBox] | None, cutoffs: Mapping[str, float]
) -> tuple[Box, ...]:
    if isinstance(record.detections_3d, UnsetType):
        return ()
    limits = {name: cutoffs.get(name, SHOWN_CONFIDENCE) for name in CLASS_RANGES_M}
    shown = [found for found in record.detections_3d if found.confidence >= limits.get(found.class_name, 0)]
    if truth is None:
        return tuple(_predicted_box(found, "unknown") for found in shown if _is_near(found.bbox_3d.center))
    matches = match_boxes(shown, truth, CLASS_RANGES_M)
    verdict = find_errors(matches, limits)
    roles: dict[int, Role] = dict.fromkeys(verdict.false_alarms, "false_alarm")
    roles |= dict.fromkeys(verdict.matched, "hit")
    counted, missed = {token for match in matches.values() for token in match.truth}, set(verdict.missed)
    there = (_truth_box(box, "miss" if box.token in missed else "hit") for box in truth if box.token in counted)
    return (*there, *(_predicted_box(found, roles[found.id]) for found in shown if found.id in roles))


def _predicted_box(detection: Detection3D, role: Role) -> Box:
    box = detection.bbox_3d
    return Box(
        label=f"{detection.class_name} {detection.confidence:.2f}",
        center=box.center,
        size_wlh=box.size_wlh,
        rotation_wxyz=box.rotation_wxyz,
        is_truth=False,
        role=role,
    )


def _truth_box(box: GroundTruthBox, role: Role) -> Box:
    return Box(
        label=box.class_name,
        center=box.center,
        size_wlh=box.size_wlh,
        rotation_wxyz=box.rotation_wxyz,
        is_truth=True,
        role=role,
    )


def _is_near(center: tuple[float, float, float]) -> bool:
    return float(np.hypot(center[0], center[1])) <= BOX_RANGE_M


def _view_lines(
    record: Record,
    sample: dict[str, Any] | None,
    vectors: Sequence[MapVector] | None,
    cutoffs: Mapping[str, float],
) -> tuple[Line, ...]:
    if isinstance(record.map_elements, UnsetType):
        return ()
    shown = [found for found in record.map_elements if found.confidence >= cutoffs.get(found.type, SHOWN_CONFIDENCE)]
    if sample is None or vectors is None:
        return tuple(_predicted_line(found, "unknown") for found in shown)
    predictions = read_predictions(record, sample)
    token = record.metadata.sample_token
    matches = {name: class_match(match_sample(token, predictions[name], name, vectors)) for name in MAP_CLASSES}
    verdict = find_errors(matches, {name: cutoffs.get(name, SHOWN_CONFIDENCE) for name in MAP_CLASSES})
    missed, wrong = set(verdict.missed), set(verdict.false_alarms)
    there = (
        Line(
            label=vector.type,
            kind=vector.type,
            points=patch_to_ego(vector.points, sample),
            is_truth=True,
            role="miss" if index in missed else "hit",
        )
        for index, vector in enumerate(vectors)
    )
    return (*there, *(_predicted_line(found, "false_alarm" if found.id in wrong else "hit") for found in shown))


def _predicted_line(element: MapElement, role: Role) -> Line:
    label = f"{element.type} {element.confidence:.2f}"
    points = np.asarray(element.points, dtype=np.float64)
    return Line(label=label, kind=element.type, points=points, is_truth=False, role=role)


def _view_lanes(record: Record, truth: LaneAnnotation | None, cutoffs: Mapping[str, float]) -> tuple[Line, ...]:
    if isinstance(record.lane_graph, UnsetType):
        return ()
    found, limit = record.lane_graph.lanes, cutoffs.get(LANE, SHOWN_CONFIDENCE)
    if truth is None:
        return tuple(_predicted_lane(lane, "unknown") for lane in found if lane.confidence >= limit)
    verdict = find_errors(match_frame(LaneTruth(**vars(truth)), prediction_of(record)), {LANE: limit})
    missed, right = set(verdict.missed), set(verdict.matched)
    there = (
        Line(label=LANE, kind=LANE, points=lane.astype(float), is_truth=True, role="miss" if index in missed else "hit")
        for index, lane in enumerate(truth.lanes)
    )
    shown = (
        _predicted_lane(found[index], "hit" if index in right else "false_alarm")
        for index in sorted((*right, *verdict.false_alarms))
    )
    return (*there, *shown)


def _predicted_lane(lane: Lane, role: Role) -> Line:
    points = np.asarray(lane.points, dtype=np.float64)
    return Line(label=f"{LANE} {lane.confidence:.2f}", kind=LANE, points=points, is_truth=False, role=role)
