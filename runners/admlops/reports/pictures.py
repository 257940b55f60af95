"""A sample as one PNG: six cameras and the bird's-eye view, for a terminal user, a chat or a README."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Circle, Polygon
from PIL import Image, ImageColor

from admlops.core.errors import AdmlopsError
from admlops.reports.bird_eye import EGO_LENGTH_M, EGO_REAR_M, EGO_WIDTH_M, bird_eye_svg, visible_extent
from admlops.reports.camera_view import CAMERA_ORDER, load_picture, project_box, project_line
from admlops.reports.geometry import Points, box_corners
from admlops.reports.points import ABOVE_COLOUR, project_points
from admlops.reports.scene_view import Box, Line, SceneView

__all__ = ["bird_eye_svg", "draw_sample"]

DPI = 100
ON_PAPER = {"truth": "#009e73", "miss": "#d55e00", "prediction": "#0072b2", "false_alarm": "#c0408f"}
ON_PHOTO = {"truth": "#35e0a5", "miss": "#ff8a3d", "prediction": "#63c3ff", "false_alarm": "#ff86da"}


def draw_sample(view: SceneView, *, width: int = 1600) -> bytes:
    """A mosaic of the cameras in two rows, with the bird's-eye view at the right, as PNG of `width` pixels.

    Ground truth is solid, predictions are dashed. A camera that cannot be drawn says why in its place. The same view
    gives the same bytes.
    """
    with mpl.rc_context({"font.size": 9, "text.parse_math": False}):
        figure = Figure(figsize=(width / DPI, 0.345 * width / DPI), dpi=DPI, layout="constrained")
        names = _camera_names(view)
        columns = math.ceil(len(names) / 2)
        grid = figure.add_gridspec(2, columns + 1, width_ratios=(*[1.0] * columns, 1.05))
        for index, name in enumerate(names):
            _draw_camera(figure.add_subplot(grid[divmod(index, columns)]), view, name)
        _draw_bird_eye(figure.add_subplot(grid[:, columns]), view)
        figure.suptitle(f"{view.model}, {view.scene}, {view.token}", fontsize=10)
        canvas = FigureCanvasAgg(figure)
        canvas.draw()  # type: ignore[no-untyped-call]
        image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")  # type: ignore[no-untyped-call]
    buffer = io.BytesIO()
    _reduce(image).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _camera_names(view: SceneView) -> tuple[str, ...]:
    """nuScenes' cameras, also those that are missing; of another data set those that are there."""
    cameras = {} if view.sample is None else view.sample["cameras"]
    return CAMERA_ORDER if not cameras or set(cameras) & set(CAMERA_ORDER) else tuple(cameras)


def _reduce(image: Image.Image) -> Image.Image:
    """The picture in 256 colours, a third of the bytes; the lines' colours are rare and get places of their own."""
    kept = [ImageColor.getrgb(colour) for colour in (*ON_PAPER.values(), *ON_PHOTO.values(), "#ffffff", "#1f2328")]
    common = image.quantize(256 - len(kept)).getpalette() or []
    palette = Image.new("P", (1, 1))
    palette.putpalette([*(part for colour in kept for part in colour), *common[: 3 * (256 - len(kept))]])
    return image.quantize(palette=palette, dither=Image.Dither.NONE)


def _draw_camera(axes: Axes, view: SceneView, name: str) -> None:
    axes.set_axis_off()
    axes.set_title(name, fontsize=8, pad=2)
    camera = None if view.sample is None else view.sample["cameras"].get(name)
    if view.sample is None or camera is None:
        _say(axes, "no picture")
        return
    width, height = camera["width"], camera["height"]
    try:
        axes.imshow(load_picture(Path(camera["path"]), 640), extent=(0, width, height, 0))
        axes.set(xlim=(0, width), ylim=(height, 0))
        _draw_overlay(axes, view, camera)
    except AdmlopsError as error:
        _say(axes, textwrap.fill(error.message, 44))


def _say(axes: Axes, text: str) -> None:
    """Text in the middle of an empty place; it takes no part in the layout, however long it is."""
    said = axes.text(0.5, 0.5, text, ha="center", va="center", fontsize=7, transform=axes.transAxes)
    said.set_in_layout(False)


def _draw_overlay(axes: Axes, view: SceneView, camera: Mapping[str, Any]) -> None:
    assert view.sample is not None
    pose = view.sample["ego2global"]
    for colour, pixels in project_points(view, camera):
        axes.scatter(pixels[:, 0], pixels[:, 1], s=1.2, c=colour, linewidths=0)
    for line in view.lines:
        _draw_pieces(axes, project_line(line, camera, pose), line, ON_PHOTO)
    for box in view.boxes:
        _draw_pieces(axes, project_box(box, camera, pose), box, ON_PHOTO)


def _draw_bird_eye(axes: Axes, view: SceneView) -> None:
    half_width, half_height = visible_extent(view)
    axes.set(xlim=(-half_width, half_width), ylim=(-half_height, half_height), aspect="equal", xticks=[], yticks=[])
    for radius in range(10, 51, 10):
        axes.add_patch(Circle((0, 0), radius, fill=False, edgecolor="#d0d5dc", linewidth=0.8))
    axes.add_patch(Polygon(_up(view.window), fill=False, edgecolor="#7a838e", linestyle=":", linewidth=0.8))
    if view.points is not None:
        above = _up(view.points)
        axes.scatter(above[:, 0], above[:, 1], s=0.8, c=ABOVE_COLOUR, linewidths=0, zorder=0)
    front, half = EGO_LENGTH_M - EGO_REAR_M, EGO_WIDTH_M / 2
    axes.fill([-half, half, half, -half], [-EGO_REAR_M, -EGO_REAR_M, front, front], color="#1f2328")
    for line in view.lines:
        _draw_pieces(axes, [_up(line.points)], line, ON_PAPER)
    for box in view.boxes:
        corners = box_corners(box.center, box.size_wlh, box.rotation_wxyz)[:4, :2]
        nose = np.stack([np.asarray(box.center[:2]), corners[:2].mean(axis=0)])
        _draw_pieces(axes, [_up(np.vstack([corners, corners[:1]])), _up(nose)], box, ON_PAPER)
    _draw_key(axes, half_width, half_height)


def _draw_key(axes: Axes, half_width: float, half_height: float) -> None:
    """The legend, and a bar of 10 m."""
    names = {"truth": "found", "miss": "missed", "prediction": "right", "false_alarm": "false alarm"}
    for role, label in names.items():
        axes.plot([], [], color=ON_PAPER[role], linestyle="-" if role in ("truth", "miss") else "--", label=label)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0.0), ncols=4, fontsize=7, frameon=False, handlelength=1.6)
    x, y = -half_width + 2, -half_height + 2
    axes.plot([x, x + 10], [y, y], color="#59636e", linewidth=2)
    axes.text(x + 5, y + 1, "10 m", ha="center", va="bottom", fontsize=7, color="#59636e")


def _draw_pieces(axes: Axes, pieces: Iterable[Points], thing: Box | Line, colours: Mapping[str, str]) -> None:
    layer = "truth" if thing.is_truth else "prediction"
    colour = colours[thing.role if thing.role in ("miss", "false_alarm") else layer]
    for piece in pieces:
        axes.plot(
            piece[:, 0],
            piece[:, 1],
            color=colour,
            linestyle="-" if thing.is_truth else (0, (4, 2)),
            linewidth=1.2 if thing.role in ("hit", "unknown") else 1.8,
        )


def _up(points: Points) -> Points:
    """Ego x forward is up on paper, y left is left."""
    return np.column_stack([-points[:, 1], points[:, 0]])
