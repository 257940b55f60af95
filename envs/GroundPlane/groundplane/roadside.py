"""The paved area in the bird's-eye view, and its edges as polylines."""

import math
from typing import List

import cv2
import numpy as np

from .birdseye import BirdsEye
from .lanes import densify, polyline_length
from .markings import Stroke

SEED_REACH_M = (16.0, 1.4)  # ahead and behind, and to the sides: the vehicle stands on the road
TOLERANCE = np.array([9.0, 5.0, 5.0], np.float32)  # Lab, at least this far from a seed colour is still road
MAX_HOLE_M2 = 14.0
SMOOTHING_M = 0.4


def paved_mask(view: BirdsEye, unknown: np.ndarray, paint: np.ndarray) -> np.ndarray:
    """Cells (bool) of the road the vehicle stands on: like the ground just ahead and behind, and connected to it."""
    grid = view.grid
    lab = cv2.cvtColor(cv2.GaussianBlur(view.image, (0, 0), 1.2) / np.float32(255), cv2.COLOR_BGR2Lab)
    x, y = grid.centers()
    known = view.seen & ~unknown
    corridor = (np.abs(x)[:, None] < SEED_REACH_M[0]) & (np.abs(y)[None] < SEED_REACH_M[1]) & known
    if np.count_nonzero(corridor & (paint == 0)) < 50:
        return np.zeros(known.shape, bool)
    alike = _like_seeds(lab, lab[corridor & (paint == 0)]) & known
    beneath = (np.abs(x)[:, None] < 4.5) & (np.abs(y)[None] < 2.5) & ~view.seen
    mask = (alike | beneath).astype(np.uint8)
    mask = cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    mask = cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8))
    _, labels = cv2.connectedComponents(mask, connectivity=4)
    counts = np.bincount(labels[corridor | beneath], minlength=1)
    counts[0] = 0
    if counts.max() == 0:
        return np.zeros(known.shape, bool)
    return fill_holes(labels == int(np.argmax(counts)), MAX_HOLE_M2 / grid.cell**2)


def _like_seeds(lab: np.ndarray, seeds: np.ndarray) -> np.ndarray:
    """Cells within tolerance of one of the few colours that make up most of the seeds."""
    alike = np.zeros(lab.shape[:2], bool)
    left = seeds
    for _ in range(4):
        mode = np.median(left, axis=0) if len(left) < 200 else _mode(left)
        near = (np.abs(left - mode) < TOLERANCE).all(axis=1)
        if np.count_nonzero(near) < 0.04 * len(seeds):
            break
        center = np.median(left[near], axis=0)
        spread = 1.4826 * np.median(np.abs(left[near] - center), axis=0)
        alike |= (np.abs(lab - center) < np.maximum(TOLERANCE, 4.0 * spread)).all(axis=-1)
        left = left[~near]
        if len(left) < 0.08 * len(seeds):
            break
    return alike


def _mode(colours: np.ndarray) -> np.ndarray:
    """The most common lightness and the median colour of those that have it."""
    counts, edges = np.histogram(colours[:, 0], bins=40, range=(0.0, 100.0))
    counts = np.convolve(counts, [1, 2, 1], "same")
    peak = int(np.argmax(counts))
    middle = (edges[peak] + edges[peak + 1]) / 2
    near = np.abs(colours[:, 0] - middle) < 4.0
    return np.asarray(np.median(colours[near], axis=0))


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
    hidden = cv2.dilate(hidden, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
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
