"""Shadows on the ground: what the sun casts, and the dark close round every contact."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter
from scipy.spatial import ConvexHull

from admlops.synthetic.light import Light
from admlops.synthetic.mesh import clip_polygon

Array = NDArray[np.float64]

SHADOW_COLOUR = (14, 16, 24)
REACH = 90.0  # metres up to which shadows are drawn
CONTACT_REACH = 60.0
NEAR_PLANE = 0.3
LOW_SUN = 0.5  # radians of elevation under which cast shadows are lost in the dusk


@dataclass(frozen=True)
class Caster:
    """What casts a shadow: its ground outline (N, 2) [m], convex, the outline's `center` (2,), the shadow that the sun
    casts (M, 2), None under a low sun, and how far `reach` [m] all that extends from the center."""

    outline: Array
    center: Array
    shadow: Array | None
    reach: float


def make_caster(outline: Array, height: float, light: Light) -> Caster:
    """A caster of `height` [m] above a convex ground outline (N, 2)."""
    center = outline.mean(axis=0)
    reach = height * 1.5 + float(np.ptp(outline, axis=0).max())
    if light.elevation < LOW_SUN:
        return Caster(outline, center, None, reach)
    slide = -light.direction[:2] / np.tan(light.elevation) / np.cos(light.elevation)
    cast = np.concatenate([outline, outline + slide * height])
    return Caster(outline, center, cast[ConvexHull(cast).vertices], reach)


def draw_shadows(
    picture: Image.Image, casters: list[Caster], plane: Array, to_world: Array, light: Light, focal: float
) -> Image.Image:
    """The picture with its ground darkened; `plane` (3, 3) maps ground points to pixels. Draw before the solids."""
    mask = Image.new("L", (picture.width // 2, picture.height // 2), 0)
    draw = ImageDraw.Draw(mask)
    near = _near(casters, to_world)
    for caster, _ in near:
        if caster.shadow is not None:
            _fill(draw, caster.shadow, plane, int(255 * light.shadow))
    for caster, distance in near:
        if distance < CONTACT_REACH:
            for grow, dark in ((1.10, 0.30), (1.0, 0.62)):
                _fill(draw, caster.center + (caster.outline - caster.center) * grow, plane, int(255 * dark))
    mask = mask.filter(ImageFilter.GaussianBlur(max(0.4, focal / 1266 * 1.2)))
    mask = mask.resize(picture.size, Image.Resampling.BILINEAR)
    return Image.composite(Image.new("RGB", picture.size, SHADOW_COLOUR), picture, mask)


def _near(casters: list[Caster], to_world: Array) -> list[tuple[Caster, float]]:
    """The casters that may show, with their distances [m]."""
    if not casters:
        return []
    offset = np.array([caster.center for caster in casters]) - to_world[:2, 3]
    reach = np.array([caster.reach for caster in casters])
    distance = np.hypot(*offset.T)
    seen = (distance - reach < REACH) & (offset @ to_world[:2, 2] > -reach)
    return [(casters[index], float(distance[index])) for index in np.flatnonzero(seen)]


def _fill(draw: ImageDraw.ImageDraw, outline: Array, plane: Array, darkness: int) -> None:
    points = np.column_stack([outline, np.ones(len(outline))]) @ plane.T
    depth = points[:, 2] - NEAR_PLANE
    if (depth < 0).any():
        points = clip_polygon(points, depth)
        if len(points) < 3:
            return
    pixels = np.clip(points[:, :2] / points[:, 2:] / 2 - 0.5, -30000, 30000)
    draw.polygon(pixels.ravel().tolist(), fill=darkness)
