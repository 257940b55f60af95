"""What lies on the ground, as coloured polygons in painting order: verge, walkway, kerb, asphalt, wear, markings."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import MultiPolygon, Polygon

from admlops.synthetic.randomness import make_generator
from admlops.synthetic.world import (
    CROSSING_GAP,
    CROSSING_WIDTH,
    KERB_WIDTH,
    STOP_LINE_WIDTH,
    WALKWAY_WIDTH,
    Arm,
    World,
)

Array = NDArray[np.float64]
Colour = tuple[float, float, float]

LINE_WIDTH = 0.15
DASH, DASH_GAP = 3.0, 4.5
WHITE: Colour = (226.0, 226.0, 220.0)
YELLOW: Colour = (222.0, 172.0, 48.0)


class Paint(NamedTuple):
    """A polygon (N, 2) on the ground [m], its colour (RGB 0..255 in full light) and how strongly noise shows on it."""

    points: Array
    colour: Colour
    roughness: float


class Palette(NamedTuple):
    """The colours of a location's surfaces."""

    verge: Colour
    walkway: Colour
    kerb: Colour
    asphalt: Colour


def choose_palette(world: World, seed: int) -> Palette:
    """Asphalt, kerb, walkway and verge colours of a location."""
    random = make_generator("palette", seed, world.location)
    grey = float(random.uniform(84, 108))
    asphalt = (grey, grey + float(random.uniform(-1, 2)), grey + float(random.uniform(0, 5)))
    if world.drive_side > 0:
        return Palette((84.0, 104.0, 52.0), (158.0, 138.0, 116.0), (184.0, 182.0, 176.0), asphalt)
    return Palette((112.0, 112.0, 66.0), (168.0, 150.0, 128.0), (190.0, 188.0, 184.0), asphalt)


def list_paints(world: World, seed: int) -> list[Paint]:
    """Every polygon of `world`, in the order in which they are to be painted; the verge is the background."""
    palette = choose_palette(world, seed)
    random = make_generator("markings", seed, world.location)
    paints = [Paint(ring, palette.walkway, 1.3) for ring in _rings(world.paved)]
    paints += _pave_joints(world, palette)
    paints += [Paint(ring, _scaled(palette.asphalt, 1.12), 1.0) for ring in _rings(world.carpark.buffer(0.5))]
    paints += _mark_bays(world)
    paints += [Paint(ring, palette.kerb, 0.5) for ring in _rings(world.kerb)]
    paints += [Paint(ring, palette.asphalt, 1.0) for ring in _rings(world.road)]
    paints += _wear(world, palette, random)
    for arm in world.arms.values():
        paints += _mark_arm(world, arm)
    paints += [Paint(ring, WHITE, 0.8) for _, line in world.stop_lines() for ring in _rings(line)]
    return paints


def _wear(world: World, palette: Palette, random: np.random.Generator) -> list[Paint]:
    """Wheel tracks, repaired patches, cracks and manholes: a little darker or lighter than the asphalt."""
    paints = []
    for lane in world.lanes:
        for side in (-0.8, 0.8):
            ring = _strip(lane.course.points(0, lane.course.length, offset=side), 0.55)
            paints.append(Paint(ring, _scaled(palette.asphalt, 0.95), 1.0))
    for arm in world.arms.values():
        for _ in range(int(arm.course.length / 14)):
            start, reach = random.uniform(0, arm.course.length - 8), random.uniform(1.5, 7)
            aside, wide = random.uniform(-arm.half_width + 0.3, arm.half_width - 2.5), random.uniform(0.6, 2.2)
            area = arm.strip(float(start), float(start + reach), float(aside), float(aside + wide))
            paints.append(
                Paint(np.asarray(area.exterior.coords), _scaled(palette.asphalt, random.uniform(0.86, 1.08)), 1.0)
            )
        paints += [_crack(arm, palette, random) for _ in range(int(arm.course.length / 9))]
        for _ in range(int(arm.course.length / 40)):
            at = arm.course.points(float(random.uniform(5, arm.course.length - 5)), arm.course.length, offset=1.7)[0]
            angles = np.linspace(0, 2 * np.pi, 13)[:-1]
            ring = at + 0.35 * np.stack([np.cos(angles), np.sin(angles)], axis=1)
            paints.append(Paint(ring, _scaled(palette.asphalt, 0.62), 0.5))
    return paints


def _crack(arm: Arm, palette: Palette, random: np.random.Generator) -> Paint:
    start, offset = (
        random.uniform(2, arm.course.length - 10),
        random.uniform(-arm.half_width + 0.5, arm.half_width - 0.5),
    )
    arcs = start + np.sort(random.uniform(0, 8, 6))
    poses = arm.course.poses(arcs)
    wander = offset + np.cumsum(random.uniform(-0.5, 0.5, 6))
    wander = np.clip(wander, -arm.half_width + 0.2, arm.half_width - 0.2)
    line = poses[:, :2] + wander[:, None] * np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], axis=1)
    return Paint(_strip(line, 0.05), _scaled(palette.asphalt, 0.72), 1.0)


def _mark_arm(world: World, arm: Arm) -> list[Paint]:
    paints = []
    centre = YELLOW if world.drive_side < 0 else WHITE
    for start, end in arm.divider_spans():
        paints += [
            Paint(_strip(arm.course.points(start, end, offset=offset), 0.12), centre, 0.8) for offset in (-0.16, 0.16)
        ]
        for index in range(1, arm.lanes_per_direction):
            for sign in (-1, 1):
                paints += [
                    Paint(_strip(arm.course.points(a, b, offset=sign * index * arm.lane_width), LINE_WIDTH), WHITE, 0.8)
                    for a, b in _dashes(start, end)
                ]
    if arm.has_crossing:
        paints += _zebra(arm, *arm.span(CROSSING_GAP, CROSSING_GAP + CROSSING_WIDTH))
    if arm.midblock_crossing is not None:
        half = CROSSING_WIDTH / 2
        paints += _zebra(arm, arm.midblock_crossing - half, arm.midblock_crossing + half)
    return paints + _arrows(world, arm)


def _dashes(start: float, end: float) -> Iterator[tuple[float, float]]:
    at = start
    while at + 0.5 < end:
        yield at, min(at + DASH, end)
        at += DASH + DASH_GAP


def _zebra(arm: Arm, start: float, end: float) -> list[Paint]:
    """Stripes along the traffic, half a metre wide."""
    offsets = np.arange(-arm.half_width + 0.35, arm.half_width - 0.5, 1.0)
    strips = [arm.strip(start, end, float(offset), float(offset + 0.5)) for offset in offsets]
    return [Paint(np.asarray(strip.exterior.coords), WHITE, 0.9) for strip in strips]


def _arrows(world: World, arm: Arm) -> list[Paint]:
    """A straight-on arrow in every lane that runs to the junction."""
    shape = np.array([(0, -0.08), (2.6, -0.08), (2.6, -0.4), (4.2, 0), (2.6, 0.4), (2.6, 0.08), (0, 0.08)])
    paints = []
    for lane in world.lanes:
        if lane.arm != arm.name or (lane.direction > 0) != arm.junction_at_end:
            continue
        x, y, heading = lane.course.poses(lane.course.length - arm.stop_distance - STOP_LINE_WIDTH - 12.0)[0]
        turn = np.array([[np.cos(heading), np.sin(heading)], [-np.sin(heading), np.cos(heading)]])
        paints.append(Paint(shape @ turn + [x, y], WHITE, 0.9))
    return paints


def _mark_bays(world: World) -> list[Paint]:
    """Lines between the bays of the car park, across its short side."""
    a, b, c, d = np.asarray(world.carpark.exterior.coords)[:4]
    paints = []
    for share in np.linspace(0, 1, 11):
        near, far = a + (b - a) * share, d + (c - d) * share
        paints.append(Paint(_strip(np.stack([near, near + (far - near) * 0.45]), 0.1), WHITE, 0.8))
    return paints


def _pave_joints(world: World, palette: Palette) -> list[Paint]:
    """Joints between the slabs of the walkways along the arms."""
    paints = []
    for arm in world.arms.values():
        near = arm.half_width + KERB_WIDTH
        arcs = np.arange(2.0, arm.course.length - 2.0, 1.6)
        poses = arm.course.poses(arcs)
        normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], axis=1)
        for side in (-1.0, 1.0):
            ends = poses[:, None, :2] + side * np.array([near, near + WALKWAY_WIDTH])[None, :, None] * normal[:, None]
            paints += [Paint(_strip(line, 0.05), _scaled(palette.walkway, 0.86), 0.8) for line in ends]
    return paints


def _strip(line: Array, width: float) -> Array:
    """The outline (2N, 2) of a band of `width` along a line (N, 2)."""
    along = np.gradient(line, axis=0)
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-9)
    normal = np.stack([-along[:, 1], along[:, 0]], axis=1) * (width / 2)
    return np.concatenate([line + normal, (line - normal)[::-1]])


def _rings(area: Polygon | MultiPolygon) -> list[Array]:
    """The outlines of an area without holes."""
    parts = area.geoms if isinstance(area, MultiPolygon) else [area]
    return [np.asarray(part.exterior.coords) for part in parts]


def _scaled(colour: Colour, factor: float) -> Colour:
    return colour[0] * factor, colour[1] * factor, colour[2] * factor
