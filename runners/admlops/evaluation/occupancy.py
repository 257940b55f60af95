"""Which cells of a grid a turned rectangle fills, as OpenCV's `fillPoly` fills them, without drawing the grid.

The planning metrics ask a raster of 200 × 200 cells of 0.5 m, drawn by `cv2.fillPoly`, whether the 32 cells of the ego
vehicle are free. Only the rows that the ego vehicle covers are worked out here: in each row a convex polygon fills one
run of cells, from the leftmost to the rightmost cell of its scan line and of its outline. Coordinates are whole cells.

Source: OpenCV 4.7 (VAD's version), modules/imgproc/src/drawing.cpp: `CollectPolyEdges`, `FillEdgeCollection` and
`LineIterator`. Equal to it for polygons within the grid. Of those that reach beyond its border some 7 % differ in a
cell at the border, where OpenCV's own versions differ from each other as well.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

CELLS = 200
SHIFT = 16
HALF = 1 << (SHIFT - 1)
NOTHING = 1 << 40

Ints = NDArray[np.int64]


def row_runs(corners: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The first and the last cell that polygons fill in given rows; first > last where they fill none.

    Args:
        corners: (K, 4, 2), x (column) and y (row) of the corners in order.
        rows: (K, R), the rows asked for, each within the grid.
    """
    corners = corners.astype(np.int64)
    first, last = np.full(rows.shape, NOTHING), np.full(rows.shape, -NOTHING)
    for index in range(4):
        start, end = corners[:, index - 1], corners[:, index]
        for low, high in (_outline(start, end, rows), _scan_line(start, end, rows)):
            np.minimum(first, low, out=first)
            np.maximum(last, high, out=last)
    return first.clip(0, None), last.clip(None, CELLS - 1)


def _inside(points: Ints) -> NDArray[np.bool_]:
    return np.logical_and((points >= 0).all(axis=-1), (points < CELLS).all(axis=-1))


def _scan_line(start: Ints, end: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """Where an edge crosses the rows from its upper end to the one above its lower end."""
    clipped = ~(_inside(start) & _inside(end))
    a, b = start.copy(), end.copy()
    _, a[clipped], b[clipped] = _clip(start[clipped], end[clipped])
    used = clipped & (a[:, 1] != b[:, 1])
    a[~used], b[~used] = start[~used], end[~used]
    from_x, to_x = a[:, 0] << SHIFT, b[:, 0] << SHIFT
    fall = np.where(b[:, 1] == a[:, 1], 1, b[:, 1] - a[:, 1])
    slope = _truncate(to_x - from_x, fall)
    down = start[:, 1] < end[:, 1]
    x = np.where(down, from_x, to_x)[:, np.newaxis]
    y = np.where(down, a[:, 1], b[:, 1])[:, np.newaxis]
    x = x + (rows - y) * slope[:, np.newaxis]
    top, bottom = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    active = (rows >= top[:, np.newaxis]) & (rows < bottom[:, np.newaxis])
    # A run begins at the rounded crossing on its left and ends at the one on its right, rounded down.
    return np.where(active, (x + HALF) >> SHIFT, NOTHING), np.where(active, x >> SHIFT, -NOTHING)


def _outline(start: Ints, end: Ints, rows: Ints) -> tuple[Ints, Ints]:
    """The cells of the line from corner to corner: Bresenham's, from left to right, halves rounded back."""
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


def _clip(start: Ints, end: Ints) -> tuple[NDArray[np.bool_], Ints, Ints]:
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
