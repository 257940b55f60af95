"""Which cells of a grid a turned rectangle fills, as OpenCV's `fillPoly` fills them, without drawing the grid.

The planning metrics ask a raster of 200 × 200 cells of 0.5 m, drawn by `cv2.fillPoly`, whether the 32 cells of the ego
vehicle are free. Only the rows that the ego vehicle covers are worked out here. In each row a convex polygon fills the
cells of its outline, and those between the two edges that cross the row. Beyond the grid the two differ: the outline is
cut to the grid first, and its whole cells then run at another slope than the edges. Coordinates are whole cells.

Source: OpenCV 4.7 (VAD's version), modules/imgproc/src/drawing.cpp: `CollectPolyEdges`, `FillEdgeCollection`,
`LineIterator` and `clipLine`. Equal to it in every cell; later versions cut the edges as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 200
SHIFT = 16
ONE = 1 << SHIFT
NOTHING = 1 << 50

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def fills(corners: Ints, rows: Ints, first: Ints, last: Ints) -> Bools:
    """Tell whether polygons fill any of the cells `first` to `last` in given rows, (K, R).

    Args:
        corners: (K, 4, 2), x (column) and y (row) of the corners in order.
        rows: (K, R), the rows asked for, each within the grid.
        first, last: (K, 1) or (K, R), columns within the grid.
    """
    corners = corners.astype(np.int64)
    hit = np.zeros(rows.shape, dtype=np.bool_)
    left, right = np.full(rows.shape, NOTHING), np.full(rows.shape, -NOTHING)
    for index in range(4):
        start, end = corners[:, index - 1], corners[:, index]
        low, high = _outline(start, end, rows)
        hit |= (low <= last) & (high >= first)
        crossing, active = _crossing(start, end, rows)
        np.minimum(left, crossing, out=left, where=active)
        np.maximum(right, crossing, out=right, where=active)
    # Between two edges: from the left one, rounded up, to the right one, rounded down.
    low, high = (left + ONE - 1) >> SHIFT, right >> SHIFT
    return np.logical_or(hit, (low <= high) & (low <= last) & (high >= first))


def _crossing(start: Ints, end: Ints, rows: Ints) -> tuple[Ints, Bools]:
    """Where an edge crosses the rows, in fractions ONE of a cell, from its upper end to the row above its lower end."""
    down = (start[:, 1] < end[:, 1])[:, np.newaxis]
    upper, lower = np.where(down, start, end), np.where(down, end, start)
    fall = np.maximum(lower[:, 1] - upper[:, 1], 1)
    slope = _truncate((lower[:, 0] - upper[:, 0]) << SHIFT, fall)
    x = (upper[:, :1] << SHIFT) + (rows - upper[:, 1:]) * slope[:, np.newaxis]
    return x, (rows >= upper[:, 1:]) & (rows < lower[:, 1:])


def _outline(start: Ints, end: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The first and the last cell in each row of the line from corner to corner; first > last where there are none.

    Bresenham's line, from left to right, halves rounded back.
    """
    seen, start, end = _clip(start, end)
    swap = (end[:, 0] < start[:, 0])[:, np.newaxis]
    start, end = np.where(swap, end, start), np.where(swap, start, end)
    dx, dy = end[:, :1] - start[:, :1], np.abs(end[:, 1:] - start[:, 1:])
    step = np.where(end[:, 1:] < start[:, 1:], -1, 1)
    row = (rows - start[:, 1:]) * step
    active = seen[:, np.newaxis] & (row >= 0) & (row <= dy)
    twice = np.maximum(2 * dy, 1)
    steep = -((dy - 2 * dx * row) // twice)
    low = np.where(row > 0, dx * (2 * row - 1) // twice + 1, 0)
    high = np.where(dy > 0, np.minimum(dx * (2 * row + 1) // twice, dx), dx)
    first, last = np.where(dy > dx, steep, low) + start[:, :1], np.where(dy > dx, steep, high) + start[:, :1]
    return np.where(active, first, NOTHING), np.where(active, last, -NOTHING)


def _clip(start: Ints, end: Ints) -> tuple[Bools, Ints, Ints]:
    """Lines cut to the grid, first at its top and bottom, then at its sides, and which of them are in it at all."""
    points = [start.copy(), end.copy()]
    limit = CELLS - 1
    for axis in (1, 0):
        outside = [(point[:, axis] < 0) - (point[:, axis] > limit).astype(int) for point in points]
        codes = [_code(point) for point in points]
        split = ((codes[0] & codes[1]) == 0) & ((codes[0] | codes[1]) != 0)
        for this, other in ((0, 1), (1, 0)):
            cut = np.nonzero(split & (outside[this] != 0))[0]
            a, b = points[this][cut], points[other][cut]
            edge = np.where(outside[this][cut] > 0, 0, limit)
            run = b[:, axis] - a[:, axis]
            share = (edge - a[:, axis]) * (b[:, 1 - axis] - a[:, 1 - axis]) / np.where(run == 0, 1, run)
            points[this][cut, 1 - axis] += np.trunc(share).astype(np.int64)
            points[this][cut, axis] = edge
    return (_code(points[0]) | _code(points[1])) == 0, points[0], points[1]


def _code(points: Ints) -> Ints:
    """On which sides of the grid a point lies: left 1, right 2, above 4, below 8."""
    x, y = points[:, 0], points[:, 1]
    limit = CELLS - 1
    code: Ints = (x < 0) + 2 * (x > limit) + 4 * (y < 0) + 8 * (y > limit).astype(np.int64)
    return code


def _truncate(dividend: Ints, divisor: Ints) -> Ints:
    """Whole division towards zero, as C divides."""
    quotient: Ints = np.sign(dividend) * np.sign(divisor) * (np.abs(dividend) // np.abs(divisor))
    return quotient
