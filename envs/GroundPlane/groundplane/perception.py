"""One sample: from views to boxes and map elements."""

from typing import Any, Dict, List, NamedTuple, Sequence

import cv2
import numpy as np

from . import roadside
from .birdseye import Grid, Warp, join, pixel_density, unwarp, warp
from .ground import View, balance, ground_ranges, road_colours, upright_masks
from .markings import paint_mask
from .objects import find_objects, merge
from .outlines import Sight
from .records import Element, Object3D
from .road import Directions, Pavement
from .tracking import Memory
from .vectormap import read_map
from .window import Window

__all__ = ["Memory", "Perception", "View", "perceive"]

CELL_M = 0.1
GRID_REACH_M = (36.0, 18.0)
WIDE_CELL_M = 0.25
MIN_PATCH_M2 = 25.0  # of road that traffic cuts off from the vehicle's own
WIDE_REACH_M = (54.0, 30.0)


class Perception(NamedTuple):
    """What was found in one sample."""

    objects: List[Object3D]
    elements: List[Element]
    sights: List[Sight]


def perceive(
    views: Sequence[View], lidar: np.ndarray, ego2global: Dict[str, Any], timestamp_s: float, memory: Memory
) -> Perception:
    """Boxes and map elements of one sample; `lidar` is the LiDAR's (x, y) [m], the middle of the map window."""
    views = balance(views)
    cameras = [view.camera for view in views]
    ranges = [ground_ranges(camera) for camera in cameras]
    grid = Grid.around((float(lidar[0]), float(lidar[1])), GRID_REACH_M, CELL_M)
    warps = [Warp(warp(view.camera, view.image, grid), pixel_density(view.camera, grid)) for view in views]
    bare = join(grid, warps, [None] * len(views))
    road = road_colours(views)
    painted = cv2.dilate(paint_mask(bare, bare.seen), np.ones((3, 3), np.uint8))
    paint = [unwarp(camera, painted, grid) for camera in cameras]
    upright, memory.ground = upright_masks(views, ranges, paint, road, memory.ground)
    masks = [warp(camera, mask, grid, cv2.INTER_NEAREST) for camera, mask in zip(cameras, upright)]
    plan = join(grid, warps, masks)
    reading = read_map(plan, road.bins, Window.around(float(lidar[0]), float(lidar[1])))
    pavement = _wide_pavement(views, upright, road.painted)
    directions = Directions(reading.heading, reading.elements)
    sights = [
        Sight(view.camera, find_objects(view, mask, ground, directions, pavement))
        for view, mask, ground in zip(views, upright, ranges)
    ]
    found = [item for sight in sights for item in sight.found]
    return Perception(memory.observe(merge(found), ego2global, timestamp_s), reading.elements, sights)


def _wide_pavement(views: Sequence[View], upright: Sequence[np.ndarray], road_bins: np.ndarray) -> Pavement:
    """The road as far as boxes are looked for, on a coarser grid than the map needs."""
    grid = Grid.around((0.0, 0.0), WIDE_REACH_M, WIDE_CELL_M)
    warps = [Warp(warp(view.camera, view.image, grid), pixel_density(view.camera, grid)) for view in views]
    masks = [warp(view.camera, mask, grid, cv2.INTER_NEAREST) for view, mask in zip(views, upright)]
    view = join(grid, warps, masks)
    return Pavement(grid, roadside.paved_mask(view, road_bins, MIN_PATCH_M2), view.seen)
