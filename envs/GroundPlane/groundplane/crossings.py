"""Zebra crossings: parallel stripes side by side, and the oriented rectangle around them."""

import math
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from .birdseye import Grid
from .markings import Stroke, angle_between

STRIPE_WIDTH_M = (0.22, 1.0)
STRIPE_LENGTH_M = (1.3, 9.0)
NEIGHBOUR_M = (0.45, 2.3)  # from the middle of a stripe to the next
MIN_STRIPES = 4
MAX_GROWTH_M = 14.0


class Crossing(NamedTuple):
    """A crossing: the four corners of its outline (4, 2) [m], in turn, and the number of stripes seen."""

    corners: np.ndarray
    stripes: int
    members: Tuple[int, ...]


def find_crossings(strokes: Sequence[Stroke]) -> List[Crossing]:
    """Group stripes that lie side by side; `members` are indices into `strokes`."""
    candidates = [
        index
        for index, item in enumerate(strokes)
        if STRIPE_WIDTH_M[0] <= item.width <= STRIPE_WIDTH_M[1]
        and STRIPE_LENGTH_M[0] <= item.length <= STRIPE_LENGTH_M[1]
    ]
    group = {index: index for index in candidates}
    for position, first in enumerate(candidates):
        for second in candidates[position + 1 :]:
            if _side_by_side(strokes[first], strokes[second]):
                _unite(group, first, second)
    members: Dict[int, List[int]] = {}
    for index in candidates:
        members.setdefault(_root(group, index), []).append(index)
    return [_rectangle(strokes, tuple(items)) for items in members.values() if len(items) >= MIN_STRIPES]


def drop_overlapping(found: Sequence[Crossing]) -> List[Crossing]:
    """Of crossings on the same ground, the one with the most stripes."""
    kept: List[Crossing] = []
    for crossing in sorted(found, key=lambda item: -item.stripes):
        middle = crossing.corners.mean(axis=0)
        outlines = [other.corners.astype(np.float32) for other in kept]
        if all(cv2.pointPolygonTest(line, (float(middle[0]), float(middle[1])), True) < -1.0 for line in outlines):
            kept.append(crossing)
    return kept


def reach_kerbs(crossing: Crossing, paved: np.ndarray, seen: np.ndarray, grid: Grid) -> Crossing:
    """Lengthen a crossing both ways to where the road is seen to end: it leads from kerb to kerb."""
    low, high = (crossing.corners[0] + crossing.corners[3]) / 2, (crossing.corners[1] + crossing.corners[2]) / 2
    walking = (high - low) / max(1e-6, float(np.hypot(*(high - low))))
    side = (crossing.corners[3] - crossing.corners[0]) / 2
    grown = [_walk_to_kerb(end, sign * walking, side, (paved, seen), grid) for end, sign in ((low, -1.0), (high, 1.0))]
    corners = np.array([grown[0] - side, grown[1] - side, grown[1] + side, grown[0] + side])
    return crossing._replace(corners=corners)


def _walk_to_kerb(
    end: np.ndarray, step: np.ndarray, side: np.ndarray, masks: Tuple[np.ndarray, np.ndarray], grid: Grid
) -> np.ndarray:
    """From a crossing's end on along `step` over paved and unseen ground; back to the last paved place."""
    last = end
    for distance in np.arange(0.1, MAX_GROWTH_M, 0.1):
        middle = end + distance * step
        points = np.array([middle - 0.6 * side, middle, middle + 0.6 * side])
        column, row = np.round(grid.to_cells(points)).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < grid.columns) & (row < grid.rows)
        if not inside.any():
            break
        seen, paved = masks[1][row[inside], column[inside]], masks[0][row[inside], column[inside]]
        if seen.any() and np.mean(paved[seen]) < 0.5:
            break
        if paved.any():
            last = middle
    return last


def _side_by_side(first: Stroke, second: Stroke) -> bool:
    if angle_between(first.heading, second.heading) > math.radians(14):
        return False
    if not 0.5 < first.length / second.length < 2.0:
        return False
    step = second.middle - first.middle
    axis = np.array([math.cos(first.heading), math.sin(first.heading)])
    along = abs(float(step @ axis))
    across = abs(float(step[0] * axis[1] - step[1] * axis[0]))
    return NEIGHBOUR_M[0] < across < NEIGHBOUR_M[1] and along < 0.45 * max(first.length, second.length) + 0.3 * across


def _root(group: Dict[int, int], index: int) -> int:
    while group[index] != index:
        index = group[index]
    return index


def _unite(group: Dict[int, int], first: int, second: int) -> None:
    group[_root(group, second)] = _root(group, first)


def _rectangle(strokes: Sequence[Stroke], members: Tuple[int, ...]) -> Crossing:
    """The outline, its sides along the crossing's walking direction and along the stripes."""
    stripes = [strokes[index] for index in members]
    middles = np.array([item.middle for item in stripes])
    center = middles.mean(axis=0)
    _, vectors = np.linalg.eigh((middles - center).T @ (middles - center))
    walking = vectors[:, 1]
    doubled = sum(item.length * complex(math.cos(2 * item.heading), math.sin(2 * item.heading)) for item in stripes)
    heading = math.atan2(doubled.imag, doubled.real) / 2
    stripe_axis = np.array([math.cos(heading), math.sin(heading)])
    # Where the middles say something else than a right angle the stripes are slanted: keep both directions.
    basis = np.column_stack([walking, stripe_axis])
    if abs(np.linalg.det(basis)) < 0.7:
        walking = np.array([-stripe_axis[1], stripe_axis[0]])
        basis = np.column_stack([walking, stripe_axis])
    to_basis = np.linalg.inv(basis)
    ends = np.array([node for item in stripes for node in (item.nodes[0], item.nodes[-1])]) - center
    local_ends, local_middles = ends @ to_basis.T, (middles - center) @ to_basis.T
    half_width = float(np.median([item.width for item in stripes])) / 2
    low_walk, high_walk = local_middles[:, 0].min() - half_width, local_middles[:, 0].max() + half_width
    pairs = np.sort(local_ends[:, 1].reshape(-1, 2), axis=1)
    low_stripe, high_stripe = float(np.median(pairs[:, 0])), float(np.median(pairs[:, 1]))
    local = [(low_walk, low_stripe), (high_walk, low_stripe), (high_walk, high_stripe), (low_walk, high_stripe)]
    return Crossing(center + np.array(local) @ basis.T, len(stripes), members)
