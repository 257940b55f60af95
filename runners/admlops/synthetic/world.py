"""One generated world for one location: a curved main road, a crossing road, a junction and what is painted on them.

Everything is in the map's metres, x east, y north, ground at z = 0. Lanes are numbered from the centre line outwards.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from shapely.geometry import Polygon
from shapely.ops import unary_union

from admlops.synthetic.course import Course, Piece, connect_straight, connect_turn
from admlops.synthetic.randomness import make_generator

Array = NDArray[np.float64]

LANE_WIDTHS = (3.0, 4.0)  # of one road all lanes are as wide, somewhere between these
GUTTER = 0.35  # asphalt between the outermost lane and the kerb
CORNER_RADIUS = 8.0
CROSSING_WIDTH = 3.6
CROSSING_GAP = 1.0  # from the junction to the crossing, and from the crossing to the stop line
STOP_LINE_WIDTH = 0.4
WALKWAY_WIDTH = 3.2
KERB_WIDTH = 0.3
MARGIN = 90.0  # free ground round the roads on the canvas


@dataclass(frozen=True)
class Lane:
    """One lane: `arm` it lies on, `direction` (+1 with the arm's course), `index` from the centre, travelled course."""

    arm: str
    direction: int
    index: int
    course: Course
    width: float


@dataclass(frozen=True)
class Connector:
    """A way through the junction from one lane's end to another's start."""

    start: Lane
    end: Lane
    course: Course

    @property
    def width(self) -> float:
        """As wide as the narrower of its lanes."""
        return min(self.start.width, self.end.width)


@dataclass(frozen=True)
class Arm:
    """A road between the junction and the edge of the world. `junction_at_end`: the course runs to the junction."""

    name: str
    course: Course
    lanes_per_direction: int
    lane_width: float
    junction_at_end: bool
    has_crossing: bool
    midblock_crossing: float | None = None

    @property
    def half_width(self) -> float:
        return self.lanes_per_direction * self.lane_width + GUTTER

    @property
    def stop_distance(self) -> float:
        """From the junction to the near edge of the stop line."""
        return CROSSING_GAP * 2 + CROSSING_WIDTH if self.has_crossing else CROSSING_GAP

    def at(self, distance: float) -> float:
        """The arc length that lies `distance` [m] from the junction."""
        return self.course.length - distance if self.junction_at_end else distance

    def span(self, near: float, far: float) -> tuple[float, float]:
        """Arc lengths, in order, of the stretch between two distances from the junction."""
        first, last = sorted((self.at(near), self.at(far)))
        return first, last

    def strip(self, start: float, end: float, right: float, left: float) -> Polygon:
        """The area between two arc lengths and two offsets to the left."""
        outline = [self.course.points(start, end, offset=right), self.course.points(start, end, offset=left)[::-1]]
        return make_area(np.concatenate(outline))

    def crossings(self) -> list[Polygon]:
        """Pedestrian crossings over this arm, kerb to kerb."""
        spans = [self.span(CROSSING_GAP, CROSSING_GAP + CROSSING_WIDTH)] if self.has_crossing else []
        if self.midblock_crossing is not None:
            spans.append((self.midblock_crossing - CROSSING_WIDTH / 2, self.midblock_crossing + CROSSING_WIDTH / 2))
        return [self.strip(start, end, -self.half_width, self.half_width) for start, end in spans]

    def divider_spans(self) -> list[tuple[float, float]]:
        """The stretches over which this arm's dividers run: from the stop line outwards, broken at a crossing."""
        start, end = self.span(self.stop_distance, self.course.length)
        if self.midblock_crossing is None:
            return [(start, end)]
        gap = CROSSING_WIDTH / 2 + CROSSING_GAP
        return [(start, self.midblock_crossing - gap), (self.midblock_crossing + gap, end)]


@dataclass(frozen=True)
class World:
    """The roads of a location. `drive_side` is +1 where one drives on the left of the centre line, else -1;
    `first_drive` (0, 1, 2) is what the ego vehicle does in the location's first scene."""

    location: str
    drive_side: int
    first_drive: int
    canvas: tuple[float, float]
    main: Course
    cross: Course
    arms: dict[str, Arm]
    lanes: tuple[Lane, ...]
    connectors: tuple[Connector, ...]
    junction: Polygon
    carpark: Polygon

    @cached_property
    def road(self) -> Polygon:
        """All asphalt of roads: the union of road segments."""
        return unary_union([self.junction, *(self.arm_area(name) for name in self.arms)])

    @cached_property
    def kerb(self) -> Polygon:
        return self.road.buffer(KERB_WIDTH, join_style="mitre")

    @cached_property
    def paved(self) -> Polygon:
        """Road, kerb and walkways together."""
        return self.road.buffer(KERB_WIDTH + WALKWAY_WIDTH)

    def arm_area(self, name: str) -> Polygon:
        arm = self.arms[name]
        return arm.strip(0.0, arm.course.length, -arm.half_width, arm.half_width)

    def lane_area(self, lane: Lane) -> Polygon:
        course = lane.course
        sides = [course.points(0, course.length, offset=o) for o in (-lane.width / 2, lane.width / 2)]
        return make_area(np.concatenate([sides[0], sides[1][::-1]]))

    def lane(self, arm: str, direction: int, index: int) -> Lane:
        return next(x for x in self.lanes if (x.arm, x.direction, x.index) == (arm, direction, index))

    def stop_lines(self) -> list[tuple[Arm, Polygon]]:
        """The stop line of every arm, on the half whose traffic runs to the junction."""
        found = []
        for arm in self.arms.values():
            start, end = arm.span(arm.stop_distance, arm.stop_distance + STOP_LINE_WIDTH)
            side = self.drive_side * (1 if arm.junction_at_end else -1)
            right, left = sorted((side * 0.15, side * (arm.half_width - GUTTER)))
            found.append((arm, arm.strip(start, end, right, left)))
        return found


def make_area(points: Array) -> Polygon:
    """A polygon on a grid of 0.1 mm, so that neighbours computed in different ways share their corners exactly."""
    return Polygon(np.round(points, 4))


def generate_world(location: str, seed: int) -> World:
    """The world of `location` for `seed`; the same arguments give the same world."""
    random = make_generator("world", seed, location)
    drive_side = 1 if location.startswith("singapore") else -1
    main_lanes, cross_lanes = int(random.integers(2, 4)), int(random.integers(1, 3))
    main_width, cross_width = (round(float(random.uniform(*LANE_WIDTHS)), 2) for _ in range(2))
    main, junction_arc = _lay_main_road(random)
    half_main, half_cross = main_lanes * main_width + GUTTER, cross_lanes * cross_width + GUTTER
    setbacks = half_cross + CORNER_RADIUS, half_main + CORNER_RADIUS
    x, y, heading = main.poses(junction_arc)[0]
    reach = 130.0
    side = heading + np.pi / 2
    cross = Course(float(x - reach * np.cos(side)), float(y - reach * np.sin(side)), float(side), (Piece(2 * reach),))
    missing = int(random.integers(0, 2))  # one arm of the cross road has no pedestrian crossing
    midblock = [float(random.uniform(45, 85)) for _ in range(2)]  # from the junction
    ends = junction_arc - setbacks[0], junction_arc + setbacks[0], reach - setbacks[1], reach + setbacks[1]
    arms = [
        Arm("main_in", main.section(0, ends[0]), main_lanes, main_width, True, True, float(ends[0] - midblock[0])),
        Arm("main_out", main.section(ends[1], main.length), main_lanes, main_width, False, True, midblock[1]),
        Arm("cross_in", cross.section(0, ends[2]), cross_lanes, cross_width, True, missing != 0),
        Arm("cross_out", cross.section(ends[3], cross.length), cross_lanes, cross_width, False, missing != 1),
    ]
    return _assemble(location, drive_side, main, cross, arms, np.array([x, y, heading]), random)


def _lay_main_road(random: np.random.Generator) -> tuple[Course, float]:
    """The main road near the origin and the arc length of its junction, in the middle of a straight."""
    turn = float(random.choice([-1.0, 1.0]))
    straight = [float(random.uniform(*limits)) for limits in ((70, 110), (80, 110), (70, 110))]
    bends = [
        Piece(radius * float(random.uniform(0.5, 0.9)), sign * turn / radius)
        for sign, radius in ((1, float(random.uniform(55, 110))), (-1, float(random.uniform(55, 110))))
    ]
    pieces = (Piece(straight[0]), bends[0], Piece(straight[1]), bends[1], Piece(straight[2]))
    course = Course(0.0, 0.0, float(random.uniform(-0.4, 0.4)), pieces)
    return course, straight[0] + bends[0].length + straight[1] / 2


def _assemble(
    location: str,
    drive_side: int,
    main: Course,
    cross: Course,
    arms: list[Arm],
    center: Array,
    random: np.random.Generator,
) -> World:
    """Move everything into the positive quadrant and add lanes, connectors, junction and car park."""
    points = np.concatenate([course.points(0, course.length) for course in (main, cross)])
    low, high = points.min(axis=0) - MARGIN, points.max(axis=0) + MARGIN
    shift = -np.floor(low)
    canvas = tuple(float(v) for v in np.ceil(high + shift))

    def move(course: Course) -> Course:
        return Course(float(course.x + shift[0]), float(course.y + shift[1]), course.heading, course.pieces)

    moved = {arm.name: _replace_course(arm, move(arm.course)) for arm in arms}
    lanes = tuple(lane for arm in moved.values() for lane in _lay_lanes(arm, drive_side))
    middle = center.copy()
    middle[:2] += shift
    return World(
        location=location,
        drive_side=drive_side,
        first_drive=int(random.integers(0, 3)),
        canvas=(canvas[0], canvas[1]),
        main=move(main),
        cross=move(cross),
        arms=moved,
        lanes=lanes,
        connectors=tuple(_connect(lanes, drive_side)),
        junction=_outline_junction(moved, middle),
        carpark=_place_carpark(moved["main_out"], random),
    )


def _replace_course(arm: Arm, course: Course) -> Arm:
    return replace(arm, course=course)


def _lay_lanes(arm: Arm, drive_side: int) -> list[Lane]:
    lanes = []
    for index in range(arm.lanes_per_direction):
        offset = drive_side * (index + 0.5) * arm.lane_width
        lanes.append(Lane(arm.name, 1, index, arm.course.shifted(offset), arm.lane_width))
        lanes.append(Lane(arm.name, -1, index, arm.course.shifted(-offset).reversed(), arm.lane_width))
    return lanes


def _connect(lanes: tuple[Lane, ...], drive_side: int) -> list[Connector]:
    """Straight on lane by lane; the near turn from the outermost lane, the far turn from the innermost."""
    towards = {"main_in": 1, "main_out": -1, "cross_in": 1, "cross_out": -1}
    opposite = {"main_in": "main_out", "main_out": "main_in", "cross_in": "cross_out", "cross_out": "cross_in"}
    connectors = []
    for lane in lanes:
        if lane.direction != towards[lane.arm]:
            continue
        start = lane.course.poses(lane.course.length)[0]
        for other in lanes:
            if other.direction == towards[other.arm] or other.arm == lane.arm:
                continue
            end = other.course.poses(0.0)[0]
            if other.arm == opposite[lane.arm]:
                if other.index == lane.index:
                    connectors.append(Connector(lane, other, connect_straight(start, end)))
                continue
            aside = float((end[:2] - start[:2]) @ [-np.sin(start[2]), np.cos(start[2])])
            near = aside * drive_side > 0
            if lane.index == _turning_lane(lanes, lane.arm, near) and other.index == _turning_lane(
                lanes, other.arm, near
            ):
                connectors.append(Connector(lane, other, connect_turn(start, end)))
    return connectors


def _turning_lane(lanes: tuple[Lane, ...], arm: str, near: bool) -> int:
    return max(lane.index for lane in lanes if lane.arm == arm) if near else 0


def _outline_junction(arms: dict[str, Arm], center: Array) -> Polygon:
    """The junction's area: the four arm ends, joined by rounded corners."""
    half_main, half_cross = arms["main_in"].half_width, arms["cross_in"].half_width
    corner = []
    for sign_x, sign_y in ((1, 1), (-1, 1), (-1, -1), (1, -1)):
        angles = np.linspace(0, np.pi / 2, 9)
        x = half_cross + CORNER_RADIUS * (1 - np.cos(angles))
        y = half_main + CORNER_RADIUS * (1 - np.sin(angles))
        points = np.stack([sign_x * x, sign_y * y], axis=1)
        corner.append(points if sign_x * sign_y < 0 else points[::-1])
    local = np.concatenate(corner)
    cos, sin = np.cos(center[2]), np.sin(center[2])
    return make_area(local @ np.array([[cos, sin], [-sin, cos]]) + center[:2])


def _place_carpark(arm: Arm, random: np.random.Generator) -> Polygon:
    """A rectangular car park beyond the walkway of `arm`, on the side that the road's bend leads away from."""
    start = float(random.uniform(22, 30))
    near = arm.half_width + KERB_WIDTH + WALKWAY_WIDTH + 1.0
    side = -float(np.sign(sum(piece.curvature for piece in arm.course.pieces)))
    right, left = sorted((side * near, side * (near + 11.0)))
    x, y, heading = arm.course.poses(start + 13.0)[0]
    corners = np.array([(-13.0, right), (13.0, right), (13.0, left), (-13.0, left)])
    cosine, sine = np.cos(heading), np.sin(heading)
    return Polygon(corners @ np.array([[cosine, sine], [-sine, cosine]]) + (x, y))
