"""The paved area in the bird's-eye view, and its edges as polylines."""

import math
from typing import List

import cv2
import numpy as np

from .birdseye import BirdsEye
from .lanes import densify, polyline_length
from .markings import Stroke

MAX_HOLE_M2 = 14.0
SMOOTHING_M = 0.4


def paved_mask(view: BirdsEye, road_bins: np.ndarray, min_patch_m2: float = math.inf) -> np.ndarray:
    """Cells (bool) of the road the vehicle stands on: of the road's colours, and connected to the vehicle.

    Patches of at least `min_patch_m2` count without being connected.
    """
    grid = view.grid
    smooth = cv2.GaussianBlur(np.clip(view.image, 0, 255).astype(np.uint8), (0, 0), 1.0)
    lab = cv2.cvtColor(smooth, cv2.COLOR_BGR2Lab)
    alike = road_bins[lab[..., 0] >> 3, lab[..., 1] >> 2, lab[..., 2] >> 2] & view.seen
    x, y = grid.centers()
    beneath = (np.abs(x - 0.8)[:, None] < 8.0) & (np.abs(y)[None] < 2.0)
    mask = (alike | (beneath & ~view.seen)).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, _disk(0.9, grid.cell))
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, _disk(0.7, grid.cell))
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    counts = np.bincount(labels[beneath], minlength=1)
    counts[0] = 0
    if counts.max() == 0:
        return np.zeros(alike.shape, bool)
    areas = np.bincount(labels.ravel()) * grid.cell**2
    areas[0] = 0.0
    wanted = areas >= min_patch_m2
    wanted[int(np.argmax(counts))] = True
    road = wanted[labels].astype(np.uint8)
    road = cv2.morphologyEx(road, cv2.MORPH_CLOSE, _disk(1.3, grid.cell)) > 0  # over double lines
    return fill_holes(road, MAX_HOLE_M2 / grid.cell**2)


def inside(road: np.ndarray, cell: float) -> np.ndarray:
    """uint8 mask of where paint can be a marking: on the road, away from its kerbs, and across narrow gaps in it."""
    closed = cv2.morphologyEx(road.astype(np.uint8), cv2.MORPH_CLOSE, _disk(1.9, cell))
    return np.asarray(cv2.erode(closed, _disk(0.5, cell)))


def clear_of_hidden(view: BirdsEye) -> np.ndarray:
    """uint8 mask of the cells away from what objects hide: along its edge they leave streaks like paint."""
    x, y = view.grid.centers()
    beneath = (np.abs(x - 0.8)[:, None] < 8.0) & (np.abs(y)[None] < 6.0)
    hidden = (~view.seen & ~beneath).astype(np.uint8)
    hidden = cv2.morphologyEx(hidden, cv2.MORPH_OPEN, _disk(0.3, view.grid.cell))
    return np.asarray(1 - cv2.dilate(hidden, _disk(0.9, view.grid.cell)))


def _disk(diameter: float, cell: float) -> np.ndarray:
    """A round structuring element of about `diameter` metres, at least three cells."""
    size = max(3, round(diameter / cell) | 1)
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size)))


def fill_holes(mask: np.ndarray, max_cells: float) -> np.ndarray:
    """The mask with holes of at most `max_cells` closed."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=4)
    small = stats[:, cv2.CC_STAT_AREA] <= max_cells
    small[0] = False
    return np.asarray(mask | small[labels]) if count > 1 else mask


def edge_strokes(mask: np.ndarray, unknown: np.ndarray, view: BirdsEye, min_length: float = 1.5) -> List[Stroke]:
    """The mask's outline in pieces, leaving out where it borders on what no camera shows."""
    grid = view.grid
    hidden = (unknown | ~view.seen).astype(np.uint8)
    hidden[[0, -1]] = 1
    hidden[:, [0, -1]] = 1
    hidden = cv2.dilate(hidden, _disk(1.1, grid.cell))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    found = []
    for contour in contours:
        cells = contour[:, 0]
        if len(cells) < 15:
            continue
        shown = hidden[cells[:, 1], cells[:, 0]] == 0
        for piece in _runs(shown):
            nodes = _smoothed(grid.to_ground(cells[piece].astype(float)), SMOOTHING_M / grid.cell)
            length = polyline_length(nodes)
            if length >= min_length:
                nodes = densify(nodes, 0.5)
                delta = nodes[-1] - nodes[0]
                found.append(Stroke(nodes, 0.0, length, math.atan2(delta[1], delta[0]) % math.pi))
    return found


def _runs(shown: np.ndarray) -> List[np.ndarray]:
    """Index runs of a closed contour where `shown` holds; a run may pass the end."""
    if shown.all():
        return [np.append(np.arange(len(shown)), 0)]
    if not shown.any():
        return []
    start = int(np.argmin(shown))  # a hidden place
    order = (np.arange(len(shown)) + start) % len(shown)
    flags = shown[order].astype(np.int8)
    edges = np.diff(np.concatenate([[0], flags, [0]]))
    return [order[a:b] for a, b in zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)) if b - a >= 8]


def _smoothed(nodes: np.ndarray, sigma: float) -> np.ndarray:
    """Gaussian smoothing along a polyline, ends kept in place by reflection."""
    radius = int(3 * sigma) + 1
    if len(nodes) <= 2 * radius:
        return nodes
    weights = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma) ** 2)
    weights /= weights.sum()
    head = 2 * nodes[0] - nodes[radius:0:-1]
    tail = 2 * nodes[-1] - nodes[-2 : -radius - 2 : -1]
    padded = np.concatenate([head, nodes, tail])
    return np.column_stack([np.convolve(padded[:, axis], weights, "valid") for axis in (0, 1)])
