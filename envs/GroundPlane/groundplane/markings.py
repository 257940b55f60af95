"""Paint on the road: strokes narrower than their surroundings, and the lane lines that they make up."""

import math
from typing import List, NamedTuple, Tuple

import cv2
import numpy as np

from .birdseye import BirdsEye, Grid

OPENING_M = 1.1  # wider than any lane line or zebra stripe
MIN_CONTRAST = 5.0  # lightness or yellowness above the surroundings, CIE Lab units
MIN_STROKE_M = 0.7
MAX_LINE_WIDTH_M = 0.5
MAX_DOUBLE_WIDTH_M = 0.95


class Stroke(NamedTuple):
    """One painted piece: `nodes` (n, 2) along its middle [m], mean width [m], length [m], heading [rad, 0..pi)."""

    nodes: np.ndarray
    width: float
    length: float
    heading: float

    @property
    def middle(self) -> np.ndarray:
        """The point half way between its ends."""
        return np.asarray((self.nodes[0] + self.nodes[-1]) / 2)


def paint_mask(view: BirdsEye, allowed: np.ndarray) -> np.ndarray:
    """uint8 mask of cells brighter or yellower than what lies around them (white top-hat), within `allowed`."""
    lab = cv2.cvtColor(np.clip(view.image + 0.5, 0, 255).astype(np.uint8), cv2.COLOR_BGR2Lab).astype(np.float32)
    lab[..., 0] *= np.float32(100 / 255)
    size = round(OPENING_M / view.grid.cell) | 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    found = np.zeros(allowed.shape, bool)
    for channel, weight in ((lab[..., 0], 1.0), (lab[..., 2], 0.8)):
        filled = _fill(channel, view.seen)
        raised = cv2.morphologyEx(filled, cv2.MORPH_TOPHAT, kernel)
        usual = raised[allowed]
        if usual.size == 0:
            continue
        noise = float(np.median(usual))
        found |= raised * weight > max(MIN_CONTRAST, 4.0 * noise)
    return np.asarray((found & allowed).astype(np.uint8))


def _fill(channel: np.ndarray, seen: np.ndarray) -> np.ndarray:
    """Unseen cells get a middling value, so that their edge is no stroke brighter than the road."""
    middle = float(np.median(channel[seen])) if seen.any() else 0.0
    return np.where(seen, channel, np.float32(middle)).astype(np.float32)


def directed_paint(mask: np.ndarray, heading: float, cell: float) -> np.ndarray:
    """The parts of a paint mask that run within about 30 degrees of a heading: a stop line parts from a lane line."""
    found = np.zeros_like(mask)
    for turn in (-0.35, -0.17, 0.0, 0.17, 0.35):
        found |= cv2.morphologyEx(mask, cv2.MORPH_OPEN, _bar(heading + turn, MIN_STROKE_M / cell))
    return found


def _bar(heading: float, length: float) -> np.ndarray:
    """A structuring element: a thin bar along a heading of the ego frame (rows run backwards, columns to the right)."""
    half = math.ceil(length / 2)
    kernel = np.zeros((2 * half + 1, 2 * half + 1), np.uint8)
    offset = np.array([-math.sin(heading), -math.cos(heading)]) * length / 2
    first, last = np.round(half - offset).astype(int), np.round(half + offset).astype(int)
    cv2.line(kernel, tuple(int(v) for v in first), tuple(int(v) for v in last), 1, 1)
    return kernel


def strokes(mask: np.ndarray, grid: Grid) -> List[Stroke]:
    """The connected pieces of paint that are long enough to have a direction."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    found = []
    for index in range(1, count):
        left, top, width, height, area = stats[index]
        if area * grid.cell**2 < 0.04 or max(width, height) * grid.cell < MIN_STROKE_M:
            continue
        row, column = np.nonzero(labels[top : top + height, left : left + width] == index)
        points = grid.to_ground(np.column_stack([column + left, row + top]).astype(float))
        stroke = _stroke(points, grid.cell)
        if stroke is not None:
            found.append(stroke)
    return found


def _stroke(points: np.ndarray, cell: float) -> "Stroke | None":
    """A piece's middle line: the mean of its cells in bins along its principal axis."""
    center = points.mean(axis=0)
    offsets = points - center
    _, vectors = np.linalg.eigh(offsets.T @ offsets)
    axis = vectors[:, 1] if vectors[0, 1] > 0 else -vectors[:, 1]
    along = offsets @ axis
    across = offsets @ np.array([-axis[1], axis[0]])
    length = float(along.max() - along.min()) + cell
    if length < MIN_STROKE_M:
        return None
    bins = max(1, int(length / 1.0))
    place = np.clip(((along - along.min()) / length * bins).astype(int), 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    means = np.bincount(place, weights=across, minlength=bins) / np.maximum(counts, 1)
    width = len(points) * cell**2 / length
    centers = along.min() + (np.arange(bins) + 0.5) * length / bins
    used = counts > 0
    along_nodes = np.concatenate([[along.min()], centers[used], [along.max()]])
    inner = means[used]
    across_nodes = np.concatenate([[inner[0]], inner, [inner[-1]]])
    nodes = center + along_nodes[:, None] * axis + across_nodes[:, None] * np.array([-axis[1], axis[0]])
    return Stroke(nodes, width, length, math.atan2(axis[1], axis[0]) % math.pi)


def line_strokes(found: List[Stroke]) -> List[Stroke]:
    """Those that can be pieces of a lane line."""
    return [item for item in found if _is_line(item.width, item.length)]


def _is_line(width: float, length: float) -> bool:
    """Thin and long; a double line seen as one may be wider if it is long enough to be nothing else."""
    limit = MAX_DOUBLE_WIDTH_M if length >= 6.0 else MAX_LINE_WIDTH_M
    return width <= limit and length >= 2.5 * width


def angle_between(first: float, second: float) -> float:
    """The angle between two undirected headings, 0..pi/2."""
    difference = abs(first - second) % math.pi
    return min(difference, math.pi - difference)


def end_headings(nodes: np.ndarray) -> Tuple[float, float]:
    """Heading into a polyline at its first and out of it at its last node, over about three metres."""
    return _heading(nodes[::-1]) + math.pi, _heading(nodes)


def _heading(nodes: np.ndarray) -> float:
    """Direction in which a polyline leaves its last node."""
    steps = np.hypot(*(nodes - nodes[-1]).T)
    far = np.flatnonzero(steps > 3.0)
    start = nodes[far[-1]] if len(far) else nodes[0]
    delta = nodes[-1] - start
    return math.atan2(delta[1], delta[0])
