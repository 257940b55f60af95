"""Shadows on the ground: what the sun casts, and the dark close round every contact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import ConvexHull

from admlops.datasets.synthetic.light import Light

Array = NDArray[np.float64]

SHADOW_COLOUR = (14, 16, 24)
REACH = 90.0  # metres up to which shadows are drawn
NEAR_PLANE = 0.3


@dataclass(frozen=True)
class Caster:
    """A ground outline (N, 2) [m], convex, under something of `height` [m]; `contact` if it stands on the ground."""

    outline: Array
    height: float
    contact: bool = True


def draw_shadows(
    picture: Image.Image, casters: list[Caster], plane: Array, to_world: Array, light: Light, focal: float
) -> Image.Image:
    """The picture with its ground darkened; `plane` (3, 3) maps ground points to pixels. Draw before the solids."""
    half = (picture.width // 2, picture.height // 2)
    mask = Image.new("L", half, 0)
    draw = ImageDraw.Draw(mask)
    eye, ahead = to_world[:2, 3], to_world[:2, 2]
    sunlit = int(255 * light.shadow)
    near = [c for c in casters if _may_show(c, eye, ahead)]
    if light.elevation > 0.5:
        slide = -light.direction[:2] / np.tan(light.elevation) / np.cos(light.elevation)
        for caster in near:
            cast = np.concatenate([caster.outline, caster.outline + slide * caster.height])
            _fill(draw, cast[ConvexHull(cast).vertices], plane, sunlit)
    for caster in near:
        if caster.contact and np.hypot(*(caster.outline.mean(axis=0) - eye)) < 60:
            center = caster.outline.mean(axis=0)
            for grow, dark in ((1.10, 0.30), (1.0, 0.62)):
                _fill(draw, center + (caster.outline - center) * grow, plane, int(255 * dark))
    mask = mask.filter(ImageFilter.GaussianBlur(max(0.4, focal / 1266 * 1.2)))
    mask = mask.resize(picture.size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", picture.size, SHADOW_COLOUR), picture, mask)


def _may_show(caster: Caster, eye: Array, ahead: Array) -> bool:
    offset = caster.outline.mean(axis=0) - eye
    reach = caster.height * 1.5 + float(np.ptp(caster.outline, axis=0).max())
    return bool(np.hypot(*offset) - reach < REACH and offset @ ahead > -reach)


def _fill(draw: ImageDraw.ImageDraw, outline: Array, plane: Array, darkness: int) -> None:
    points = np.column_stack([outline, np.ones(len(outline))]) @ plane.T
    depth = points[:, 2] - NEAR_PLANE
    if (depth < 0).any():
        points = _clip(points, depth)
        if len(points) < 3:
            return
    pixels = np.clip(points[:, :2] / points[:, 2:] / 2 - 0.5, -30000, 30000)
    draw.polygon(pixels.ravel().tolist(), fill=darkness)


def _clip(points: Array, depth: Array) -> Array:
    kept = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        if depth[i] >= 0:
            kept.append(points[i])
        if (depth[i] >= 0) != (depth[j] >= 0):
            kept.append(points[i] + (points[j] - points[i]) * (depth[i] / (depth[i] - depth[j])))
    return np.array(kept).reshape(-1, 3)
