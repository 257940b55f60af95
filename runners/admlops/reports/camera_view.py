"""A sample's camera pictures with ground truth and predictions drawn over them.

The picture is a small JPEG; boxes (as wireframes) and map elements (on the ground, z = 0 of the ego frame) are an SVG
of the original picture's size laid over it, so that lines stay sharp and either layer can be hidden.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from PIL import Image, UnidentifiedImageError

from admlops.core.errors import AdmlopsError, DataError
from admlops.reports.geometry import (
    BOX_EDGES,
    NEAR_M,
    Points,
    box_corners,
    clip_polyline,
    on_picture,
    project,
    to_camera,
)
from admlops.reports.points import dots, project_points
from admlops.reports.scene_view import Box, Line, SceneView

CAMERA_ORDER = ("CAM_FRONT_LEFT", "CAM_FRONT", "CAM_FRONT_RIGHT", "CAM_BACK_LEFT", "CAM_BACK", "CAM_BACK_RIGHT")
PICTURE_WIDTH = 640
JPEG_QUALITY = 70
FARTHEST_PIXEL = 1e5
"""Projections beyond this add nothing to a picture and break renderers."""


@dataclass(frozen=True, kw_only=True)
class CameraPicture:
    """One camera's picture: `jpeg_base64` is None where the file cannot be read, and `note` says why."""

    camera: str
    width: int
    height: int
    jpeg_base64: str | None
    overlay: Markup
    note: str = ""

    @property
    def title(self) -> str:
        """E.g. `front left`."""
        return self.camera.removeprefix("CAM_").replace("_", " ").lower()


def camera_names(view: SceneView) -> list[str]:
    """The cameras of a sample in the order of a mosaic; empty without a sample."""
    if view.sample is None:
        return []
    cameras = view.sample["cameras"]
    return [name for name in CAMERA_ORDER if name in cameras] + sorted(set(cameras) - set(CAMERA_ORDER))


def draw_cameras(view: SceneView, *, width: int = PICTURE_WIDTH) -> list[CameraPicture]:
    """The pictures of a sample's cameras in the order of a mosaic; empty without a sample."""
    return [_draw_camera(view, name, width) for name in camera_names(view)]


def draw_overlay(view: SceneView, name: str) -> Markup:
    """Boxes and lines over the picture of one camera; nothing where its calibration is unusable."""
    assert view.sample is not None
    try:
        return Markup(_overlay(view, view.sample["cameras"][name]))  # noqa: S704 - it escapes
    except AdmlopsError:  # `draw_cameras` says so in the picture's note
        return Markup()


def load_picture(path: Path, width: int) -> Image.Image:
    """The picture at `path`, scaled down to `width` pixels.

    Raises:
        DataError: the file is missing or is not a picture.
    """
    try:
        with Image.open(path) as image:
            image.draft("RGB", (width, round(width * image.height / image.width)))
            size = (width, max(1, round(width * image.height / image.width)))
            return image.convert("RGB").resize(size, Image.Resampling.LANCZOS)
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
        reason = "it is missing" if isinstance(error, FileNotFoundError) else str(error)
        raise DataError(f"{path} cannot be read: {reason}", hint="unpack the camera pictures again") from error


def project_box(box: Box, camera: Mapping[str, Any], ego2global: Mapping[str, Any]) -> list[Points]:
    """The visible edges of a box as pixel segments (2, 2); empty where the box is behind or beside the camera.

    Raises:
        DataError: the calibration is unusable.
    """
    corners = box_corners(box.center, box.size_wlh, box.rotation_wxyz)
    inside = to_camera(corners, ego2global=ego2global, camera=camera)
    if inside[:, 2].max() < NEAR_M:  # most boxes are behind most cameras
        return []
    pieces = (clip_polyline(inside[list(edge)]) for edge in BOX_EDGES)
    return _on_picture([project(piece, camera["intrinsic"]) for found in pieces for piece in found], camera)


def project_line(line: Line, camera: Mapping[str, Any], ego2global: Mapping[str, Any]) -> list[Points]:
    """The visible pieces of a line as pixel polylines (N, 2); a line without heights lies on the ground.

    Raises as `project_box` does.
    """
    points = line.points
    if points.shape[1] == 2:
        points = np.column_stack([points, np.zeros(len(points))])
    inside = to_camera(points, ego2global=ego2global, camera=camera)
    return _on_picture([project(piece, camera["intrinsic"]) for piece in clip_polyline(inside)], camera)


def _on_picture(pieces: list[Points], camera: Mapping[str, Any]) -> list[Points]:
    usable = [piece for piece in pieces if np.abs(piece).max() < FARTHEST_PIXEL]
    if not usable or not on_picture(np.concatenate(usable), width=camera["width"], height=camera["height"]):
        return []
    return usable


def _draw_camera(view: SceneView, name: str, width: int) -> CameraPicture:
    assert view.sample is not None
    camera = view.sample["cameras"][name]
    encoded, overlay = None, Markup()
    notes: list[str] = []
    try:
        encoded = _encode(load_picture(Path(camera["path"]), width))
    except DataError as error:
        notes.append(error.message)
    try:
        overlay = Markup(_overlay(view, camera))  # noqa: S704 - it escapes what it takes in
    except AdmlopsError as error:
        notes.append(error.message)
    return CameraPicture(
        camera=name,
        width=int(camera["width"]),
        height=int(camera["height"]),
        jpeg_base64=encoded,
        overlay=overlay,
        note="; ".join(notes),
    )


def _encode(image: Image.Image) -> str:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=JPEG_QUALITY, optimize=True)
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _overlay(view: SceneView, camera: Mapping[str, Any]) -> str:
    if view.sample is None or not (view.boxes or view.lines or view.points is not None):
        return ""  # pictures without calibration have nothing in space to draw
    ego2global = view.sample["ego2global"]
    layers = [
        f'<path class="points" stroke="{colour}" d="{dots(pixels, digits=0)}"/>'
        for colour, pixels in project_points(view, camera)
    ]
    for name, is_truth in (("truth", True), ("prediction", False)):
        lines = ((line, project_line(line, camera, ego2global)) for line in view.lines if line.is_truth is is_truth)
        boxes = ((box, project_box(box, camera, ego2global)) for box in view.boxes if box.is_truth is is_truth)
        layers.append(f'<g class="{name}">{_draw(lines, "line")}{_draw(boxes, "wire")}</g>')
    return "".join(layers)


def _draw(things: Iterable[tuple[Box | Line, list[Points]]], kind: str) -> str:
    return "".join(
        f'<path class="{kind} {thing.role}" d="{"".join(_path(piece) for piece in pieces)}">'
        f"<title>{escape(thing.label)}</title></path>"
        for thing, pieces in things
        if pieces
    )


def _path(pixels: Points) -> str:
    return "M" + "L".join(f"{x:.0f} {y:.0f}" for x, y in pixels)
