"""One sample: from views to boxes and map elements."""

import math
from typing import Any, Dict, List, NamedTuple, Sequence

import numpy as np

from .birdseye import Grid, join
from .ground import View, ground_ranges, upright_masks
from .objects import find_objects, merge, to_object
from .records import Element, Object3D
from .vectormap import read_map
from .window import Window

__all__ = ["Memory", "Perception", "View", "perceive"]

CELL_M = 0.1
GRID_REACH_M = (32.0, 18.0)


class Perception(NamedTuple):
    """What was found in one sample."""

    objects: List[Object3D]
    elements: List[Element]


class Memory:
    """What is carried from one sample of a scene to the next."""


def perceive(
    views: Sequence[View], lidar: np.ndarray, ego2global: Dict[str, Any], timestamp_s: float, memory: Memory
) -> Perception:
    """Boxes and map elements of one sample; `lidar` is the LiDAR's (x, y) [m], the middle of the map window."""
    cameras = [view.camera for view in views]
    ranges = [ground_ranges(camera) for camera in cameras]
    upright = upright_masks(views, ranges)
    grid = Grid.around((float(lidar[0]), float(lidar[1])), GRID_REACH_M, CELL_M)
    view = join(cameras, [view.image for view in views], upright, grid)
    reading = read_map(view, ~view.seen, Window.around(float(lidar[0]), float(lidar[1])))
    headings = [reading.heading, reading.heading + math.pi / 2]
    found = [
        item
        for camera, mask, ground in zip(cameras, upright, ranges)
        for item in find_objects(camera, mask, ground, headings)
    ]
    objects = [to_object(item, (0.0, 0.0)) for item in merge(found)]
    return Perception(objects, reading.elements)
