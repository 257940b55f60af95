"""The vector map: dividers, crossings and boundaries from one bird's-eye view."""

from typing import List, NamedTuple, Sequence, Tuple

import cv2
import numpy as np

from . import lanes, roadside
from .birdseye import BirdsEye
from .crossings import Crossing, find_crossings, reach_kerbs
from .markings import Stroke, line_strokes, paint_mask, strokes
from .records import Element
from .window import Window, clip_polygon, clip_polyline

MIN_DIVIDER_M = 3.0
MIN_BOUNDARY_M = 4.0
MAX_ELEMENTS = 50


class Reading(NamedTuple):
    """The elements, and the road's directions [rad] for the boxes."""

    elements: List[Element]
    heading: float


def read_map(view: BirdsEye, road_bins: np.ndarray, window: Window) -> Reading:
    """All elements inside the window, most confident first."""
    paint = paint_mask(view, view.seen)
    road = roadside.paved_mask(view, road_bins)
    inner = cv2.erode(road.astype(np.uint8), np.ones((5, 5), np.uint8))
    pieces = strokes(paint & inner, view.grid)
    crossings = [reach_kerbs(item, road, view.seen, view.grid) for item in find_crossings(pieces)]
    used = {index for crossing in crossings for index in crossing.members}
    free = line_strokes([item for index, item in enumerate(pieces) if index not in used])
    elements = _crossings(crossings, window) + _dividers(free, window)
    elements += _boundaries(roadside.edge_strokes(road, ~view.seen, view), window)
    elements.sort(key=lambda item: (-item.confidence, item.type, float(item.points[0, 0])))
    return Reading(elements[:MAX_ELEMENTS], lanes.main_heading(free))


def _crossings(found: Sequence[Crossing], window: Window) -> List[Element]:
    elements = []
    for crossing in found:
        outline = clip_polygon(crossing.corners, window)
        if len(outline) >= 3:
            confidence = min(0.98, 0.3 + 0.06 * crossing.stripes)
            elements.append(Element("ped_crossing", np.concatenate([outline, outline[:1]]), confidence))
    return elements


def _dividers(pieces: Sequence[Stroke], window: Window) -> List[Element]:
    lines = lanes.drop_doubles([line._replace(nodes=lanes.smooth(line.nodes)) for line in lanes.link(pieces)])
    elements = []
    for line in lines:
        for nodes in clip_polyline(line.nodes, window):
            length = lanes.polyline_length(nodes)
            if length >= MIN_DIVIDER_M:
                elements.append(Element("divider", nodes, _trust(length, line.painted)))
    return elements


def _boundaries(pieces: Sequence[Stroke], window: Window) -> List[Element]:
    elements = []
    for line in lanes.link(pieces):
        for nodes in clip_polyline(line.nodes, window):
            length = lanes.polyline_length(nodes)
            if length >= MIN_BOUNDARY_M:
                elements.append(Element("boundary", nodes, _trust(length, line.painted)))
    return elements


def _trust(length: float, painted: float) -> float:
    """Confidence of a line: long ones are rarely wrong."""
    return float((1.0 - np.exp(-length / 12.0)) * (0.4 + 0.6 * painted))
