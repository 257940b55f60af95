"""The rectangle that map elements are asked for: MapTR's 60 x 30 m around the LiDAR, along the ego's axes."""

from typing import List, NamedTuple

import numpy as np


class Window(NamedTuple):
    """Axis-parallel in the ego frame [m]."""

    back: float
    front: float
    right: float
    left: float

    @classmethod
    def around(cls, x: float, y: float) -> "Window":
        """60 m along x and 30 m along y around a point."""
        return cls(x - 30.0, x + 30.0, y - 15.0, y + 15.0)


def clip_polyline(nodes: np.ndarray, window: Window) -> List[np.ndarray]:
    """The parts of a polyline inside the window, cut exactly at its sides (Liang-Barsky)."""
    parts: List[List[np.ndarray]] = []
    for start, end in zip(nodes[:-1], nodes[1:]):
        span = _inside_span(start, end, window)
        if span is None:
            continue
        enter, leave = start + span[0] * (end - start), start + span[1] * (end - start)
        if not parts or span[0] > 0.0 or not np.allclose(parts[-1][-1], start, rtol=0.0, atol=1e-9):
            parts.append([enter])
        parts[-1].append(leave)
    return [np.array(part) for part in parts]


def _inside_span(start: np.ndarray, end: np.ndarray, window: Window) -> "tuple[float, float] | None":
    low, high = 0.0, 1.0
    bounds = ((window.back, window.front), (window.right, window.left))
    for axis, (least, most) in enumerate(bounds):
        delta = float(end[axis] - start[axis])
        if abs(delta) < 1e-12:
            if not least <= start[axis] <= most:
                return None
            continue
        first, second = (least - start[axis]) / delta, (most - start[axis]) / delta
        low, high = max(low, min(first, second)), min(high, max(first, second))
    return (low, high) if low < high else None


def clip_polygon(corners: np.ndarray, window: Window) -> np.ndarray:
    """A convex polygon's part inside the window (Sutherland-Hodgman), (n, 2); n may be 0."""
    points = [np.asarray(corner, dtype=float) for corner in corners]
    sides = ((0, 1.0, window.back), (0, -1.0, -window.front), (1, 1.0, window.right), (1, -1.0, -window.left))
    for axis, sign, limit in sides:
        kept: List[np.ndarray] = []
        for index, point in enumerate(points):
            before = points[index - 1]
            inside, was_inside = sign * point[axis] >= limit, sign * before[axis] >= limit
            if inside != was_inside:
                share = (sign * limit - before[axis]) / (point[axis] - before[axis])
                kept.append(before + share * (point - before))
            if inside:
                kept.append(point)
        points = kept
    return np.array(points).reshape(-1, 2)
