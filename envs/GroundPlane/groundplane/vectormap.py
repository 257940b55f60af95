"""The vector map: dividers, crossings and boundaries from one bird's-eye view."""

from typing import List, NamedTuple, Sequence

import cv2
import numpy as np

from . import lanes, roadside
from .birdseye import BirdsEye, Grid
from .crossings import Crossing, drop_overlapping, find_crossings, reach_kerbs
from .markings import Stroke, angle_between, directed_paint, line_strokes, paint_mask, strokes
from .records import Element
from .window import Window, clip_polygon, clip_polyline

MIN_DIVIDER_M = 5.5  # longer than the arrows painted in lanes
MIN_SHOWN_M = 2.0  # of it inside the window
MIN_BOUNDARY_M = 4.0
MAX_CONTINUATION_M = 12.0
MAX_HIDDEN_EDGE_M = 20.0  # behind a row of parked cars
STOP_M = 2.0  # lines end before a crossing
MAX_ELEMENTS = 50


class Reading(NamedTuple):
    """The elements, and the road's directions [rad] for the boxes."""

    elements: List[Element]
    heading: float


def read_map(view: BirdsEye, road_bins: np.ndarray, window: Window) -> Reading:
    """All elements inside the window, most confident first."""
    grid = view.grid
    paint = paint_mask(view, view.seen)
    road = roadside.paved_mask(view, road_bins)
    paint &= roadside.inside(road, grid.cell) & roadside.clear_of_hidden(view)
    heading = lanes.main_heading(line_strokes(strokes(paint, grid)))
    along, across = (strokes(directed_paint(paint, turn, grid.cell), grid) for turn in (heading, heading + np.pi / 2))
    crossings, free = [], []
    for pieces in (along, across):
        found = find_crossings(pieces)
        crossings += [reach_kerbs(item, road, view.seen, grid) for item in found]
        used = {index for crossing in found for index in crossing.members}
        free.append([item for index, item in enumerate(pieces) if index not in used])
    crossings = drop_overlapping(crossings)
    outlines = [item.corners for item in crossings]
    open_road = Ground(grid, road | ~view.seen, outlines)
    elements = _crossings(crossings, window) + _dividers(line_strokes(free[0]), open_road, window, heading)
    elements += _boundaries(roadside.edge_strokes(road, ~view.seen, view), window)
    elements.sort(key=lambda item: (-item.confidence, item.type, float(item.points[0, 0])))
    return Reading(elements[:MAX_ELEMENTS], heading)


class Ground(NamedTuple):
    """Where a line may be continued: not past what is known to be no road, nor into a crossing."""

    grid: Grid
    passable: np.ndarray
    crossings: List[np.ndarray]

    def free_length(self, start: np.ndarray, heading: float, limit: float) -> float:
        """How far [m] one can go from a point along a heading, at most `limit`."""
        step = np.array([np.cos(heading), np.sin(heading)])
        distances = np.arange(0.0, limit, 0.2)
        points = start + distances[:, None] * step
        column, row = np.round(self.grid.to_cells(points)).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < self.grid.columns) & (row < self.grid.rows)
        free = inside.copy()
        free[inside] = self.passable[row[inside], column[inside]]
        for corners in self.crossings:
            outline = corners.astype(np.float32)
            gaps = [cv2.pointPolygonTest(outline, (float(x), float(y)), True) for x, y in points]
            free &= np.array(gaps) < -STOP_M
        blocked = np.flatnonzero(~free)
        return float(distances[blocked[0]]) if len(blocked) else limit


def _crossings(found: Sequence[Crossing], window: Window) -> List[Element]:
    elements = []
    for crossing in found:
        outline = clip_polygon(crossing.corners, window)
        if len(outline) >= 3:
            confidence = min(0.98, 0.3 + 0.06 * crossing.stripes)
            elements.append(Element("ped_crossing", np.concatenate([outline, outline[:1]]), confidence))
    return elements


def _dividers(pieces: Sequence[Stroke], ground: Ground, window: Window, heading: float) -> List[Element]:
    lines = lanes.drop_doubles([line._replace(nodes=lanes.smooth(line.nodes)) for line in lanes.link(pieces)])
    elements = []
    for line in lines:
        for part in _cut_at_crossings(line.nodes, ground.crossings):
            length = lanes.polyline_length(part)
            if length < MIN_DIVIDER_M:
                continue
            trust = _trust(length, line.painted) * _aligned(angle_between(_chord(part), heading))
            inside = clip_polyline(_continued(part, ground), window)
            elements += [
                Element("divider", nodes, trust) for nodes in inside if lanes.polyline_length(nodes) >= MIN_SHOWN_M
            ]
    return elements


def _cut_at_crossings(nodes: np.ndarray, crossings: Sequence[np.ndarray]) -> List[np.ndarray]:
    """The parts of a line that keep their distance from crossings."""
    if not crossings:
        return [nodes]
    dense = lanes.densify(nodes, 0.5)
    free = np.ones(len(dense), bool)
    for corners in crossings:
        outline = corners.astype(np.float32)
        free &= [cv2.pointPolygonTest(outline, (float(x), float(y)), True) < -STOP_M for x, y in dense]
    edges = np.diff(np.concatenate([[0], free.astype(np.int8), [0]]))
    runs = zip(np.flatnonzero(edges == 1), np.flatnonzero(edges == -1))
    return [dense[start:end] for start, end in runs if end - start >= 2]


def _chord(nodes: np.ndarray) -> float:
    """Direction [rad] from the first to the last node."""
    delta = nodes[-1] - nodes[0]
    return float(np.arctan2(delta[1], delta[0]))


def _aligned(turn: float) -> float:
    """Trust in a lane line that deviates from the road's heading by `turn` [rad]: bends do, and so do stray streaks."""
    return float(np.clip(1.2 - 1.6 * turn, 0.1, 1.0))


def _continued(nodes: np.ndarray, ground: Ground) -> np.ndarray:
    """A line carried on at both ends as far as a dash may be hidden or too far away to be seen."""
    limit = min(MAX_CONTINUATION_M, lanes.polyline_length(nodes))
    for _ in range(2):
        nodes = nodes[::-1]
        heading = lanes.leaving_heading(nodes, 8.0)
        free = ground.free_length(nodes[-1], heading, limit)
        if free > 0.5:
            nodes = np.concatenate([nodes, [nodes[-1] + free * np.array([np.cos(heading), np.sin(heading)])]])
    return nodes


def _boundaries(pieces: Sequence[Stroke], window: Window) -> List[Element]:
    elements = []
    for line in lanes.link(pieces, MAX_HIDDEN_EDGE_M):
        for nodes in clip_polyline(line.nodes, window):
            length = lanes.polyline_length(nodes)
            if length >= MIN_BOUNDARY_M:
                elements.append(Element("boundary", nodes, _trust(length, line.painted)))
    return elements


def _trust(length: float, painted: float) -> float:
    """Confidence of a line: long ones are rarely wrong."""
    return float((1.0 - np.exp(-length / 12.0)) * (0.4 + 0.6 * painted))
