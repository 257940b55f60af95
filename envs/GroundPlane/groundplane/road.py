"""What objects need to know of the road: where it is paved, and which way it runs."""

import math
from typing import List, NamedTuple, Sequence

import numpy as np

from .birdseye import Grid
from .lanes import densify, polyline_length
from .markings import angle_between
from .records import Element

MIN_GUIDE_M = 10.0  # shorter lines do not tell where the road goes
SPAN_M = 6.0  # over which a line's direction is taken
BEND_SPAN_M = 16.0  # ... and its bend
MAX_BEND_1_M = 1 / 30.0
MAX_TURN = 0.7  # beyond a line's end, rad
MAX_STEP = 0.25  # within SPAN_M: more is a kerb's corner, not a road's bend
SAME_HEADING = 0.12


class Pavement(NamedTuple):
    """Where the road is: masks (bool) on a grid of what is paved and of what some camera sees."""

    grid: Grid
    paved: np.ndarray
    seen: np.ndarray

    def share(self, points: np.ndarray) -> float:
        """The paved share of those of (n, 2) ground points that are seen; 0.5 if none is."""
        column, row = np.round(self.grid.to_cells(points)).astype(int).T
        inside = (column >= 0) & (row >= 0) & (column < self.grid.columns) & (row < self.grid.rows)
        column, row = column[inside], row[inside]
        seen = self.seen[row, column]
        return float(np.mean(self.paved[row, column][seen])) if seen.any() else 0.5


class Guide(NamedTuple):
    """A line along the road: nodes (n, 2) a metre apart [m], their headings (n,) [rad], and its bend [1/m] at the
    first and the last node, in the direction of its nodes."""

    nodes: np.ndarray
    headings: np.ndarray
    bends: "tuple[float, float]"


class Directions:
    """Which way the road runs at any place [rad]: as the nearest line, and beyond its ends bending on as it does."""

    def __init__(self, heading: float, elements: Sequence[Element]) -> None:
        self.heading = heading
        lines = [item.points for item in elements if item.type != "ped_crossing"]
        self._guides = [_guide(line) for line in lines if polyline_length(line) >= MIN_GUIDE_M]
        for guide in self._guides:
            turned = np.abs(np.diff(np.unwrap(guide.headings)))
            guide.headings[1:][turned > MAX_STEP] = np.nan

    def at(self, place: np.ndarray) -> float:
        """The road's direction at a place (2,) [m]."""
        best = (math.inf, self.heading)
        for guide in self._guides:
            gaps = np.hypot(guide.nodes[:, 0] - place[0], guide.nodes[:, 1] - place[1])
            gaps = np.where(np.isnan(guide.headings), np.inf, gaps)
            nearest = int(np.argmin(gaps))
            if gaps[nearest] < best[0]:
                best = (float(gaps[nearest]), _carried_on(guide, nearest, place))
        return best[1]

    def candidates(self, place: np.ndarray) -> List[float]:
        """Headings that a vehicle at a place may have, without the half turn: the road's there, and across it; then
        the vehicle's own road's."""
        found: List[float] = []
        for heading in (self.at(place), self.heading):
            for turn in (0.0, math.pi / 2):
                if all(angle_between(heading + turn, other) > SAME_HEADING for other in found):
                    found.append(heading + turn)
        return found


def _guide(line: np.ndarray) -> Guide:
    nodes = densify(line, 1.0)
    half = int(SPAN_M / 2)
    index = np.arange(len(nodes))
    step = nodes[np.minimum(index + half, len(nodes) - 1)] - nodes[np.maximum(index - half, 0)]
    headings = np.unwrap(np.arctan2(step[:, 1], step[:, 0]))
    reach = min(int(BEND_SPAN_M), len(nodes) - 1)
    bends = (headings[reach] - headings[0]) / reach, (headings[-1] - headings[-1 - reach]) / reach
    first, last = (float(np.clip(bend, -MAX_BEND_1_M, MAX_BEND_1_M)) for bend in bends)
    return Guide(nodes, headings, (first, last))


def _carried_on(guide: Guide, nearest: int, place: np.ndarray) -> float:
    """The heading at the nearest node; beyond an end, turned on by the bend there."""
    heading = float(guide.headings[nearest])
    if 0 < nearest < len(guide.nodes) - 1:
        return heading
    beyond = place - guide.nodes[nearest]
    along = float(beyond[0] * math.cos(heading) + beyond[1] * math.sin(heading))
    bend = guide.bends[0 if nearest == 0 else 1]
    return heading + float(np.clip(bend * along, -MAX_TURN, MAX_TURN))
