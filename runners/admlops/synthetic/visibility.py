"""How much of each actor the six cameras see: its share of pixels inside the images and not behind something."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.spatial import ConvexHull, QhullError

from admlops.synthetic.renderer import clip_near
from admlops.synthetic.rig import Sensor
from admlops.synthetic.stage import Stage

Array = NDArray[np.float64]

RASTER_WIDTH = 800
MARGIN = 0.15  # of the image, round it: what falls there is out of view but is counted
REACH = 110.0
_FACES = ((0, 1, 2, 3), (4, 5, 6, 7), (0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7))
LEVELS = ((0.4, "1"), (0.6, "2"), (0.8, "3"), (np.inf, "4"))


def visibility_token(share: float) -> str:
    """The nuScenes visibility token ("1" to "4") of a visible share 0..1."""
    return next(token for limit, token in LEVELS if share < limit)


def measure_visibility(stage: Stage, time: float) -> Array:
    """The visible share (N,) of each actor, by index, at a key frame; each camera looks at its own time."""
    shares = np.zeros(len(stage.actors))
    for camera in stage.cameras:
        shares += _measure_camera(stage, camera, time + camera.delay_us / 1e6)
    return np.clip(shares, 0.0, 1.0)


def _measure_camera(stage: Stage, camera: Sensor, time: float) -> Array:
    to_world = stage.ego_pose(time) @ camera.to_ego
    scale = RASTER_WIDTH / camera.width
    width, height = RASTER_WIDTH, round(camera.height * scale)
    pad_x, pad_y = round(width * MARGIN), round(height * MARGIN)
    raster = Image.new("I", (width + 2 * pad_x, height + 2 * pad_y), 0)
    draw = ImageDraw.Draw(raster)
    areas = np.zeros(len(stage.actors))
    for _, index, solid, pose in sorted(list_boxes(stage, time, to_world), key=lambda item: -item[0]):
        hull = find_silhouette(solid, pose, camera, to_world, scale)
        if hull is None:
            continue
        outline, area = hull
        draw.polygon((outline + np.array([pad_x, pad_y]) - 0.5).ravel().tolist(), fill=index + 1)
        if index >= 0:
            areas[index] = area
    inside = np.asarray(raster)[pad_y : pad_y + height, pad_x : pad_x + width]
    seen = np.bincount(inside.ravel(), minlength=len(stage.actors) + 1)[1:]
    return np.where(areas > 0, np.minimum(seen / np.maximum(areas, 1.0), 1.0), 0.0)


def list_boxes(stage: Stage, time: float, to_world: Array) -> list[tuple[float, int, Array, Array]]:
    """(distance, actor index or -1, box (6,), pose (3,)) of everything near."""
    eye = to_world[:2, 3]
    found = []
    for prop in stage.props:
        distance = float(np.hypot(*(prop.outline - eye).T).min())
        if distance < REACH:
            found += [(distance, -1, solid, prop.pose) for solid in prop.solids]
    for actor in stage.actors:
        pose = actor.motion.pose(time)
        distance = float(np.hypot(*(pose[:2] - eye))) - actor.size[1] / 2
        if distance < REACH:
            width, length, height = actor.size
            found.append((distance, actor.index, np.array([0, 0, height / 2, length, width, height]), pose))
    return found


def find_silhouette(
    solid: Array, pose: Array, camera: Sensor, to_world: Array, scale: float
) -> tuple[Array, float] | None:
    """The convex outline (N, 2) in raster pixels of a box, and its area; None behind the camera."""
    signs = np.array(
        [(1, 1, -1), (-1, 1, -1), (-1, -1, -1), (1, -1, -1), (1, 1, 1), (-1, 1, 1), (-1, -1, 1), (1, -1, 1)]
    )
    corners = solid[:3] + signs * solid[3:] / 2
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    world = corners @ np.array([[cos, sin, 0.0], [-sin, cos, 0.0], [0.0, 0.0, 1.0]]) + [pose[0], pose[1], 0.0]
    in_camera = (world - to_world[:3, 3]) @ to_world[:3, :3]
    if in_camera[:, 2].max() < 0.5:
        return None
    if in_camera[:, 2].min() < 0.5:
        in_camera = np.concatenate([clip_near(in_camera[list(face)]) for face in _FACES])
    (focal_x, _, cx), (_, focal_y, cy), _ = camera.intrinsic
    pixels = in_camera[:, :2] / in_camera[:, 2:] * [focal_x, focal_y] + [cx, cy]
    pixels = np.clip(pixels * scale, -20000, 20000)
    try:
        hull = ConvexHull(pixels)
    except QhullError:  # seen exactly edge-on: no area
        return None
    return pixels[hull.vertices], float(hull.volume)
