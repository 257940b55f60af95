"""LiDAR sweeps: 32 beams cast against the ground plane and the solids of actors and props."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.stage import Stage

Array = NDArray[np.float64]

BEAMS, COLUMNS = 32, 1084
LOWEST, HIGHEST = -30.67, 10.67  # degrees
MAX_RANGE = 100.0
RANGE_NOISE = 0.012  # metres, standard deviation
DROPOUT = 0.03
GROUND_REFLECTANCE, SOLID_REFLECTANCE = 42.0, 26.0


def cast_sweep(stage: Stage, time: float, random: np.random.Generator) -> NDArray[np.float32]:
    """A sweep at one instant: (N, 5) float32 x y z intensity ring, in the LiDAR's frame."""
    to_world = stage.ego_pose(time) @ stage.lidar.to_ego
    beams = np.asarray(np.radians(np.linspace(LOWEST, HIGHEST, BEAMS)), dtype=np.float64)
    azimuths = np.asarray(np.arange(COLUMNS) * (2 * np.pi / COLUMNS), dtype=np.float64)
    rays = _ray_directions(beams, azimuths)
    in_world = rays @ to_world[:3, :3].T
    origin = to_world[:3, 3]
    with np.errstate(divide="ignore"):
        ranges = np.where(in_world[..., 2] < -1e-6, -origin[2] / in_world[..., 2], np.inf)
    intensity = _ground_intensity(stage, origin, in_world, ranges)
    for solid, pose, shine in _solids(stage, time, origin):
        _cast_solid(solid, pose, origin, in_world, azimuths, to_world, ranges, intensity, shine)
    noise = random.standard_normal(ranges.shape) * RANGE_NOISE
    level = random.uniform(0.7, 1.3, ranges.shape)
    lost = random.random(ranges.shape) < DROPOUT + 0.25 * np.clip(ranges / MAX_RANGE, 0, 1) ** 2
    hit = (ranges < MAX_RANGE) & ~lost
    points = rays * (np.where(hit, ranges, 0.0) + noise)[..., None]
    ring = np.broadcast_to(np.arange(BEAMS, dtype=np.float64), ranges.shape)
    sweep = np.concatenate([points, np.clip(np.round(intensity * level), 0, 255)[..., None], ring[..., None]], axis=-1)
    return np.asarray(sweep[hit], dtype=np.float32)


def count_points(
    sweep: NDArray[np.float32], to_world: Array, center: Array, size: tuple[float, float, float], heading: float
) -> int:
    """Count how many points of a sweep lie in an upright box of `size` (width, length, height) in the world."""
    points = sweep[:, :3].astype(np.float64) @ to_world[:3, :3].T + to_world[:3, 3] - center
    cos, sin = np.cos(heading), np.sin(heading)
    along, aside = points[:, 0] * cos + points[:, 1] * sin, -points[:, 0] * sin + points[:, 1] * cos
    inside = (np.abs(along) <= size[1] / 2) & (np.abs(aside) <= size[0] / 2) & (np.abs(points[:, 2]) <= size[2] / 2)
    return int(inside.sum())


def _ray_directions(beams: Array, azimuths: Array) -> Array:
    """Unit vectors (COLUMNS, BEAMS, 3): azimuth clockwise from the LiDAR's -x axis, as the real one turns."""
    angle = np.pi - azimuths[:, None]
    flat = np.cos(beams)[None, :]
    x, y = flat * np.cos(angle), flat * np.sin(angle)
    return np.stack([x, y, np.broadcast_to(np.sin(beams), x.shape)], axis=-1)


def _ground_intensity(stage: Stage, origin: Array, in_world: Array, ranges: Array) -> Array:
    """Paint returns more than asphalt: taken from the ground texture's brightness."""
    intensity = np.zeros(ranges.shape)
    near = ranges < MAX_RANGE
    points = origin[:2] + in_world[near][:, :2] * ranges[near][:, None]
    intensity[near] = GROUND_REFLECTANCE * stage.backdrop.ground.brightness(points) ** 1.5
    return intensity


def _solids(stage: Stage, time: float, origin: Array) -> list[tuple[Array, Array, float]]:
    """Solids (6,) with the pose (3,) they belong to and their reflectance, within range."""
    things = [(prop.solids, prop.pose, prop.mesh.radius, 0.6 * SOLID_REFLECTANCE) for prop in stage.props]
    things += [(a.solids, a.motion.pose(time), a.mesh.radius, SOLID_REFLECTANCE) for a in stage.actors]
    found = []
    for solids, pose, radius, shine in things:
        if np.hypot(*(pose[:2] - origin[:2])) < MAX_RANGE + radius:
            found += [(solid, pose, shine) for solid in solids]
    return found


def _cast_solid(
    solid: Array,
    pose: Array,
    origin: Array,
    rays: Array,
    azimuths: Array,
    to_world: Array,
    ranges: Array,
    intensity: Array,
    shine: float,
) -> None:
    """Shorten the rays that meet a box; only the columns that can meet it are looked at."""
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    turn = np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]])  # world to object
    eye = turn @ (origin - [pose[0], pose[1], 0.0]) - solid[:3]
    half = solid[3:] / 2
    columns = _columns_towards(eye, half, turn @ to_world[:3, :3], len(azimuths))
    local = rays[columns] @ turn.T
    with np.errstate(divide="ignore", invalid="ignore"):
        near, far = (-half - eye) / local, (half - eye) / local
        entry = np.nanmax(np.minimum(near, far), axis=-1)
        leave = np.nanmin(np.maximum(near, far), axis=-1)
    distance = np.where((entry <= leave) & (entry > 0.3), entry, np.inf)
    closer = distance < ranges[columns]
    ranges[columns] = np.where(closer, distance, ranges[columns])
    intensity[columns] = np.where(closer, shine, intensity[columns])


def _columns_towards(eye: Array, half: Array, to_object: Array, count: int) -> NDArray[np.int64]:
    """The firing columns whose plane can meet a box about the origin of its frame, seen from `eye`."""
    if np.hypot(*np.maximum(np.abs(eye[:2]) - half[:2], 0.0)) < 1.5:
        return np.arange(count)
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * half[:2] - eye[:2]
    # The sensor leans by a degree or so: its azimuth is taken in its own frame, with some columns to spare.
    sensor = np.column_stack([corners, np.zeros(4)]) @ to_object
    column = (np.pi - np.arctan2(sensor[:, 1], sensor[:, 0])) / (2 * np.pi) * count
    base = column[0]
    relative = (column - base + count / 2) % count - count / 2
    first, last = int(np.floor(base + relative.min())) - 4, int(np.ceil(base + relative.max())) + 4
    return np.arange(first, last + 1) % count
