"""The page's LiDAR view: points, boxes and map elements of some samples, for three.js to draw in the browser.

Everything is in the ego frame (x forward, y left, z up, metres). Points are thinned to at most `MAX_POINTS` a sweep and
travel as whole centimetres; a sweep that several runs show travels once. `scripts/lidar_view.js` draws what
`draw_lidar` embeds, with the parts of three.js in `vendor/`.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup
from msgspec import UnsetType
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.sweeps import sweep_in_ego
from admlops.reports.bird_eye import EGO_LENGTH_M, EGO_REAR_M, EGO_WIDTH_M
from admlops.reports.points import thin
from admlops.reports.scene_view import BOX_RANGE_M, Box, Line, SceneView
from admlops.results.record import Record

MAX_POINTS = 20_000
MAX_SWEEPS = 8
"""Over all runs together; each brings about 190 kB."""
RANGE_M = 120.0
"""Points farther from the ego vehicle than this are left out; int16 would hold 327 m."""
LEAST_CONFIDENCE = 0.05
MAX_PREDICTIONS = 300
"""The most boxes of a sample that can be called up below the operating points, as nuScenes allows."""
EGO_HEIGHT_M = 1.56


class ShownSample(Protocol):
    """What one run says of a sample: its card's id, what a person calls it, the sample's rank in the run."""

    @property
    def id(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def rank(self) -> int: ...
    @property
    def view(self) -> SceneView: ...
    @property
    def record(self) -> Record: ...


@dataclass(frozen=True, kw_only=True)
class LidarSection:
    """What the page's section needs; `sweeps` is 0 where no sweep could be read."""

    sweeps: int
    left_out: int
    titles: tuple[str, ...]
    notes: tuple[str, ...]
    data: Markup


def draw_lidar(shown: Sequence[ShownSample]) -> LidarSection | None:
    """The section about the samples shown that have a LiDAR sweep; None where none has.

    A sweep that cannot be read becomes a note.
    """
    there = [one for one in shown if has_lidar(one.view)]
    if not there:
        return None
    chosen, left_out = _choose(there)
    sweeps: dict[str, dict[str, Any]] = {}
    notes: list[str] = []
    for view in (one.view for one in chosen):
        if view.token not in sweeps:
            try:
                sweeps[view.token] = _embed_sweep(view)
            except DataError as error:
                notes.append(f"{error.message}. Next: {error.hint}")
    scenes = [_embed_scene(one) for one in chosen if one.view.token in sweeps]
    return LidarSection(
        sweeps=len(sweeps),
        left_out=left_out,
        titles=tuple(str(scene["title"]) for scene in scenes),
        notes=tuple(dict.fromkeys(notes)),
        data=htmlsafe_json_dumps({"ego": _EGO, "sweeps": sweeps, "scenes": scenes}, separators=(",", ":")),
    )


def has_lidar(view: SceneView) -> bool:
    """Tell whether the sample names a LiDAR sweep."""
    return view.sample is not None and bool(view.sample.get("lidar", {}).get("path"))


def _choose(shown: Sequence[ShownSample]) -> tuple[list[ShownSample], int]:
    """The samples whose sweeps fit, in the page's order, and how many sweeps do not: each run's worst come first."""
    order = dict.fromkeys(one.view.token for one in sorted(shown, key=lambda one: one.rank))
    tokens = set(list(order)[:MAX_SWEEPS])
    return [one for one in shown if one.view.token in tokens], len(order) - len(tokens)


def _embed_sweep(view: SceneView) -> dict[str, Any]:
    assert view.sample is not None
    points, intensity = sweep_in_ego(view.sample["lidar"])
    near = np.abs(points).max(axis=1) < RANGE_M
    points, intensity, total = points[near], intensity[near], len(points)
    kept = thin(points, most=MAX_POINTS)
    return {
        "total": total,
        "count": len(kept),
        "xyz": _encode(np.round(points[kept] * 100).astype("<i2")),
        "intensity": _encode(np.clip(np.round(intensity[kept]), 0, 255).astype(np.uint8)),
    }


def _encode(values: NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def _embed_scene(one: ShownSample) -> dict[str, Any]:
    view = one.view
    boxes = [_embed_box(box) for box in view.boxes if box.is_truth]
    lines = [_embed_line(line) for line in view.lines if line.is_truth]
    return {
        "card": one.id,
        "sweep": view.token,
        "title": one.title,
        "boxes": boxes + _predicted_boxes(view, one.record),
        "lines": lines + _predicted_lines(view, one.record),
    }


def _predicted_boxes(view: SceneView, record: Record) -> list[dict[str, Any]]:
    """The boxes that the page shows with their roles, and those below the operating points, which it can show."""
    if isinstance(record.detections_3d, UnsetType):
        return []
    judged = {(box.center, box.size_wlh, box.rotation_wxyz): box for box in view.boxes if not box.is_truth}
    found = sorted(record.detections_3d, key=lambda one: -one.confidence)
    embedded: list[dict[str, Any]] = []
    for one in found:
        box = one.bbox_3d
        drawn = judged.get((box.center, box.size_wlh, box.rotation_wxyz))
        near = np.hypot(*box.center[:2]) <= BOX_RANGE_M
        if drawn is None and not (near and one.confidence >= LEAST_CONFIDENCE and len(embedded) < MAX_PREDICTIONS):
            continue
        shape = Box(
            label=one.class_name,
            center=box.center,
            size_wlh=box.size_wlh,
            rotation_wxyz=box.rotation_wxyz,
            is_truth=False,
            role="unknown" if drawn is None else drawn.role,
        )
        embedded.append(_embed_box(shape, confidence=one.confidence, shown=drawn is not None))
    return embedded


def _predicted_lines(view: SceneView, record: Record) -> list[dict[str, Any]]:
    """The lines that the page shows with their roles, and the map elements below the operating points."""
    drawn = [line for line in view.lines if not line.is_truth]
    confidences: dict[bytes, float] = {}
    hidden: list[dict[str, Any]] = []
    if not isinstance(record.map_elements, UnsetType):
        there = {_key(line.points) for line in drawn}
        for one in record.map_elements:
            points = np.asarray(one.points, dtype=np.float64)
            confidences[_key(points)] = one.confidence
            if _key(points) not in there and one.confidence >= LEAST_CONFIDENCE:
                line = Line(label=one.type, kind=one.type, points=points, is_truth=False, role="unknown")
                hidden.append(_embed_line(line, confidence=one.confidence, shown=False))
    return [_embed_line(line, confidence=confidences.get(_key(line.points))) for line in drawn] + hidden


def _key(points: NDArray[np.float64]) -> bytes:
    return np.ascontiguousarray(points).tobytes()


def _embed_box(box: Box, *, confidence: float | None = None, shown: bool = True) -> dict[str, Any]:
    """`pose` is centre x y z, width, length, height [m], quaternion w x y z."""
    pose = [*(round(float(x), 2) for x in (*box.center, *box.size_wlh))]
    pose += [round(float(x), 4) for x in box.rotation_wxyz]
    return {"pose": pose, **_describe(box, confidence, shown=shown)}


def _embed_line(line: Line, *, confidence: float | None = None, shown: bool = True) -> dict[str, Any]:
    """`points` is x y z of one point after another; a line without heights lies on the ground."""
    points = line.points if line.points.shape[1] == 3 else np.column_stack([line.points, np.zeros(len(line.points))])
    return {"points": np.round(points, 2).ravel().tolist(), **_describe(line, confidence, shown=shown)}


def _describe(thing: Box | Line, confidence: float | None, *, shown: bool) -> dict[str, Any]:
    label = thing.kind if isinstance(thing, Line) else thing.label
    fields = {"label": label, "role": thing.role, "truth": thing.is_truth, "shown": shown}
    return fields if confidence is None else {**fields, "confidence": round(confidence, 3)}


_EGO = {"length": EGO_LENGTH_M, "width": EGO_WIDTH_M, "height": EGO_HEIGHT_M, "rear": EGO_REAR_M}
