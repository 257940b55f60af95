"""The bird's-eye view of a sample as SVG: ego vehicle in the middle, forward is up, one unit is one metre.

Ground truth is drawn solid, predictions dashed; misses and false alarms have a colour and a fill of their own. The two
layers are groups of class `truth` and `prediction`, so that a page can hide either.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from admlops.datasets.nuscenes.vector_map import PATCH_SIZE_M
from admlops.evaluation.lane_graph.error_analysis import LANE
from admlops.reports.geometry import Points, box_corners
from admlops.reports.points import ABOVE_COLOUR, dots
from admlops.reports.scene_view import BOX_RANGE_M, Box, Line, SceneView

EGO_LENGTH_M, EGO_WIDTH_M, EGO_REAR_M = 4.08, 1.73, 0.97
"""The nuScenes vehicle (Renault Zoe): its ego frame's origin is the middle of the rear axle, on the ground."""

TEXT_SIZE = 0.07
"""The text's height as a share of half the width."""

OVERLAY_STYLE = """
.truth{--line:#009e73}.prediction{--line:#0072b2}.truth .miss{--line:#d55e00}.prediction .false_alarm{--line:#c0408f}
.box,.line{fill:none;stroke:var(--line);stroke-width:1.6;vector-effect:non-scaling-stroke;stroke-linejoin:round}
.prediction .box,.prediction .line{stroke-dasharray:5 3}.boundary{stroke-width:2.6}
.points{fill:none;stroke-width:1.5;stroke-linecap:round;vector-effect:non-scaling-stroke}
.box.miss,.box.false_alarm{fill:var(--line);fill-opacity:.25}.miss,.false_alarm{stroke-width:2.4}
"""
"""The lines' look, in the page and in a picture that stands alone: colours from Okabe and Ito's palette."""

BIRD_EYE_STYLE = """
.bird-eye{background:var(--surface,#fff);color:var(--muted,#59636e);font-family:system-ui,sans-serif}
.grid{fill:none;stroke:currentColor;stroke-opacity:.35;stroke-width:1;vector-effect:non-scaling-stroke}
.window{stroke-dasharray:2 3;stroke-opacity:.8}
.bird-eye text{fill:currentColor;paint-order:stroke;stroke:var(--surface,#fff);stroke-width:.35em}
.ego{fill:var(--ink,#1f2328)}.scale-bar{stroke:currentColor;stroke-width:2;vector-effect:non-scaling-stroke}
"""


def bird_eye_svg(view: SceneView, *, standalone: bool = False) -> str:
    """The SVG of one sample; `standalone` adds what a file of its own needs (name space and style)."""
    half_width, half_height = visible_extent(view)
    wrong = f"{view.count('miss')} misses, {view.count('false_alarm')} false alarms"
    title = f"Bird's-eye view of sample {view.token}: {wrong}"
    head = (
        f'<svg class="bird-eye" role="img" aria-label="{escape(title, quote=True)}" '
        f'viewBox="{-half_width:g} {-half_height:g} {2 * half_width:g} {2 * half_height:g}" '
        f'font-size="{TEXT_SIZE * half_width:.2f}"'
    )
    if standalone:
        head += ' xmlns="http://www.w3.org/2000/svg" width="800"'
    style = f"<style>{OVERLAY_STYLE}{BIRD_EYE_STYLE}</style>" if standalone else ""
    layers = (
        f'<g class="{name}">{"".join(_draw_line(x) for x in view.lines if x.is_truth is is_truth)}'
        f"{''.join(_draw_box(x) for x in view.boxes if x.is_truth is is_truth)}</g>"
        for name, is_truth in (("truth", True), ("prediction", False))
    )
    points = _draw_points(view.points, half_width, half_height)
    radii = [radius for radius in range(10, 51, 10) if radius < max(half_width, half_height)]
    ground, scale = _ground(radii, view.window), _scale(radii, half_width, half_height)
    return f"{head}>{style}{points}{ground}{''.join(layers)}{scale}</svg>"


def visible_extent(view: SceneView) -> tuple[float, float]:
    """Half the width and half the height to show [m]: what is there, in steps of 5 m, at least the map window."""
    corners = [np.abs(np.asarray(box.center[:2])) + 3 for box in view.boxes]
    corners += [np.abs(line.points[:, :2]).max(axis=0) for line in view.lines if line.kind == LANE]
    reach = np.max([*corners, np.array(PATCH_SIZE_M) / 2], axis=0)
    ahead, aside = np.minimum(5 * np.ceil((reach + 1) / 5), BOX_RANGE_M + 2)
    return float(max(aside, 0.8 * ahead)), float(ahead)


def _draw_points(points: Points | None, half_width: float, half_height: float) -> str:
    """The LiDAR's points, below everything else."""
    if points is None:
        return ""
    there = (np.abs(points[:, 0]) < half_height) & (np.abs(points[:, 1]) < half_width)
    path = dots(np.column_stack([-points[there, 1], -points[there, 0]]), digits=1)
    return f'<path class="points" stroke="{ABOVE_COLOUR}" d="{path}"><title>LiDAR points</title></path>'


def _ground(radii: Sequence[int], window_corners: Points) -> str:
    rings = [f'<circle class="grid" r="{radius}"/>' for radius in radii]
    window = f'<path class="grid window" d="{_path(window_corners)}Z"/>'
    front, half = EGO_LENGTH_M - EGO_REAR_M, EGO_WIDTH_M / 2
    ego = (
        f'<path class="ego" d="M0 {-front - 0.6:g}L{half:g} {-front + 1:g}V{EGO_REAR_M:g}H{-half:g}V{-front + 1:g}Z">'
        "<title>the ego vehicle</title></path>"
    )
    return "".join(rings) + window + ego


def _scale(radii: Sequence[int], half_width: float, half_height: float) -> str:
    """The rings' radii, on the diagonal behind and to the right, and a bar of 10 m; both over everything else."""
    size, x, y = TEXT_SIZE * half_width, -half_width + 2, half_height - 2
    names = [
        f'<text x="{0.71 * r:.1f}" y="{0.71 * r + size:.1f}">{r} m</text>'
        for r in radii
        if 0.71 * r + 3 * size < half_width
    ]
    return (
        f'<path class="scale-bar" d="M{x:g} {y - 1:g}v1h10v-1" fill="none"/>'
        f'<text x="{x + 5:g}" y="{y - 1.6:g}" text-anchor="middle">10 m</text>{"".join(names)}'
    )


def _draw_box(box: Box) -> str:
    corners = box_corners(box.center, box.size_wlh, box.rotation_wxyz)[:4, :2]
    middle, nose = np.asarray(box.center[:2]), corners[:2].mean(axis=0)
    path = f"{_path(corners)}Z{_path(np.stack([middle, nose]))}"
    return f'<path class="box {box.role}" d="{path}"><title>{_describe(box)}</title></path>'


def _draw_line(line: Line) -> str:
    kind = "boundary" if line.kind == "boundary" else "marking"
    return f'<path class="line {kind} {line.role}" d="{_path(line.points)}"><title>{_describe(line)}</title></path>'


def _describe(thing: Box | Line) -> str:
    role = {"hit": "", "miss": ", missed", "false_alarm": ", false alarm", "unknown": ""}[thing.role]
    return escape(f"{thing.label}, {'ground truth' if thing.is_truth else 'prediction'}{role}")


def _path(points: Points) -> str:
    """Ego x forward is up and y left is left, so (x, y) goes to (-y, -x)."""
    return "M" + "L".join(f"{-y:.2f} {-x:.2f}" for x, y, *_ in points)
