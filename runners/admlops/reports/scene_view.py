"""One sample as it is drawn: what is there, what was predicted, and which of both agree.

Boxes agree as the nuScenes detection protocol says: same class, centres at most 2 m apart on the ground, the most
confident prediction first. Map elements agree when their Chamfer distance is at most 1 m (MapTR's middle threshold).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from msgspec import UnsetType
from scipy.spatial import cKDTree

from admlops.datasets.nuscenes import GroundTruthBox
from admlops.errors import AdmlopsError
from admlops.reports.geometry import Points
from admlops.results.record import Detection3D, MapElement, Record

MATCH_DISTANCE_M = 2.0
MATCH_CHAMFER_M = 1.0
SHOWN_CONFIDENCE = 0.3
"""Predictions below this confidence are not drawn unless the caller names another one."""
BOX_RANGE_M = 50.0
MAP_WINDOW_M = (60.0, 30.0)
"""The map patch, along x (forward) and along y (left), centred on the ego vehicle."""

Role = Literal["hit", "miss", "false_alarm", "unknown"]
"""`unknown` is a prediction whose ground truth is out of reach: it is neither right nor wrong."""


class Samples(Protocol):
    """What a report needs of a data set; `datasets.nuscenes.NuScenes` is one."""

    root: Path

    def sample(self, token: str) -> dict[str, Any]: ...
    def location(self, token: str) -> str: ...
    def ground_truth(self, token: str) -> list[GroundTruthBox]: ...


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
    """A map element to draw: a polyline (N, 2) in the ego frame [m]."""

    label: str
    kind: str
    points: Points
    is_truth: bool
    role: Role


@dataclass(frozen=True, kw_only=True)
class SceneView:
    """Everything to draw of one sample. `sample` is None when the data set is out of reach; `notes` says what lacks."""

    token: str
    scene: str
    model: str
    sample: dict[str, Any] | None
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def has_map(self) -> bool:
        return bool(self.lines)

    def count(self, role: Role) -> int:
        """How many misses, false alarms, or hits (counted once, at the prediction)."""
        things: list[Box | Line] = [*self.boxes, *self.lines]
        return sum(thing.role == role and not (role == "hit" and thing.is_truth) for thing in things)


@dataclass(frozen=True, kw_only=True)
class Vector:
    """A ground-truth map element: type and polyline (N, 2) in the ego frame [m]."""

    type: str
    points: Points


def view_sample(
    record: Record, data: Samples | None, *, threshold: float = SHOWN_CONFIDENCE, evaluated: Sequence[str] | None = None
) -> SceneView:
    """The view of one record; what the data set cannot give is left out and said in `notes`.

    `evaluated` names the detection classes that count; None takes every class.
    """
    token, notes = record.metadata.sample_token, []
    sample: dict[str, Any] | None = None
    boxes: list[GroundTruthBox] | None = None
    vectors: list[Vector] | None = None
    if data is None:
        notes.append("The data set is not at hand, so pictures and ground truth are missing: pass --data ROOT.")
    else:
        try:
            sample = data.sample(token)
            boxes = data.ground_truth(token)
        except AdmlopsError as error:
            notes.append(f"Ground truth is missing: {error.message}. Next: {error.hint}")
        vectors = _vectors(record, data, sample, notes)
    return compose_view(
        record, sample=sample, truth=boxes, vectors=vectors, notes=notes, threshold=threshold, evaluated=evaluated
    )


def compose_view(
    record: Record,
    *,
    sample: dict[str, Any] | None,
    truth: Sequence[GroundTruthBox] | None,
    vectors: Sequence[Vector] | None,
    notes: Sequence[str] = (),
    threshold: float = SHOWN_CONFIDENCE,
    evaluated: Sequence[str] | None = None,
) -> SceneView:
    """The view of a record against ground truth: every box and map element with its role.

    `truth` and `vectors` are None where they are out of reach. Ground truth of a task that the record does not answer
    is not a miss and is left out.
    """
    meta = record.metadata
    boxes: tuple[Box, ...] = ()
    lines: tuple[Line, ...] = ()
    if not isinstance(record.detections_3d, UnsetType):
        found = [d for d in record.detections_3d if d.confidence >= threshold and _is_near(d.bbox_3d.center)]
        known = None if truth is None else [box for box in truth if _is_evaluated(box, evaluated)]
        boxes = _match_boxes(found, known)
    if not isinstance(record.map_elements, UnsetType):
        lines = _match_lines([e for e in record.map_elements if e.confidence >= threshold], vectors)
    return SceneView(
        token=meta.sample_token,
        scene=meta.scene,
        model=meta.model_name,
        sample=sample,
        boxes=boxes,
        lines=lines,
        notes=tuple(notes),
    )


def chamfer_distance(a: Points, b: Points, *, points: int = 50) -> float:
    """The symmetric Chamfer distance [m] of two polylines (N, 2), each resampled at equal arc length.

    The mean of both directions' mean nearest distances, as in MapTR (arXiv 2208.14437, section 4.1).
    """
    first, second = resample(a, points), resample(b, points)
    forth, _ = cKDTree(second).query(first)
    back, _ = cKDTree(first).query(second)
    return float((np.mean(forth) + np.mean(back)) / 2)


def resample(polyline: Points, points: int) -> Points:
    """A polyline (N, 2) as `points` points at equal steps of arc length, ends included."""
    lengths = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(polyline, axis=0), axis=1))])
    at = np.linspace(0.0, lengths[-1], points)
    return np.stack([np.interp(at, lengths, polyline[:, axis]) for axis in range(2)], axis=1)


def _is_near(center: tuple[float, float, float]) -> bool:
    return float(np.hypot(center[0], center[1])) <= BOX_RANGE_M


def _is_evaluated(box: GroundTruthBox, classes: Sequence[str] | None) -> bool:
    seen = box.num_lidar_pts + box.num_radar_pts > 0
    return seen and _is_near(box.center) and (classes is None or box.class_name in classes)


def _match_boxes(predicted: Sequence[Detection3D], truth: Sequence[GroundTruthBox] | None) -> tuple[Box, ...]:
    if truth is None:
        return tuple(_predicted_box(detection, "unknown") for detection in predicted)
    free = set(range(len(truth)))
    drawn: list[Box] = []
    for detection in sorted(predicted, key=lambda d: -d.confidence):
        at = np.asarray(detection.bbox_3d.center[:2])
        near = [
            (float(np.linalg.norm(at - np.asarray(truth[i].center[:2]))), i)
            for i in free
            if truth[i].class_name == detection.class_name
        ]
        distance, index = min(near, default=(np.inf, -1))
        hit = distance <= MATCH_DISTANCE_M
        free.discard(index if hit else -1)
        drawn.append(_predicted_box(detection, "hit" if hit else "false_alarm"))
    return (*(_truth_box(box, "miss" if i in free else "hit") for i, box in enumerate(truth)), *drawn)


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


def _match_lines(predicted: Sequence[MapElement], truth: Sequence[Vector] | None) -> tuple[Line, ...]:
    if truth is None:
        return tuple(_predicted_line(element, "unknown") for element in predicted)
    free = set(range(len(truth)))
    drawn: list[Line] = []
    for element in sorted(predicted, key=lambda e: -e.confidence):
        points = np.asarray(element.points, dtype=np.float64)
        near = [(chamfer_distance(points, truth[i].points), i) for i in free if truth[i].type == element.type]
        distance, index = min(near, default=(np.inf, -1))
        hit = distance <= MATCH_CHAMFER_M
        free.discard(index if hit else -1)
        drawn.append(_predicted_line(element, "hit" if hit else "false_alarm"))
    known = (
        Line(label=v.type, kind=v.type, points=v.points, is_truth=True, role="miss" if i in free else "hit")
        for i, v in enumerate(truth)
    )
    return (*known, *drawn)


def _predicted_line(element: MapElement, role: Role) -> Line:
    label = f"{element.type} {element.confidence:.2f}"
    points = np.asarray(element.points, dtype=np.float64)
    return Line(label=label, kind=element.type, points=points, is_truth=False, role=role)


def _vectors(record: Record, data: Samples, sample: dict[str, Any] | None, notes: list[str]) -> list[Vector] | None:
    """The ground-truth map around a sample; None, with a note, where the map expansion is not there."""
    if sample is None or isinstance(record.map_elements, UnsetType):
        return None
    from admlops.datasets.vector_map import vectors_in_ego  # loads shapely, which only map models need

    try:
        found = vectors_in_ego(data.root / "maps", data.location(record.metadata.sample_token), sample)
    except AdmlopsError as error:
        notes.append(f"The map's ground truth is missing: {error.message}. Next: {error.hint}")
        return None
    return [Vector(type=vector.type, points=np.asarray(vector.points, dtype=np.float64)) for vector in found]
