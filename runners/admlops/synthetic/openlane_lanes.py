"""The lane graph of a world as OpenLane-V2 annotates it: centrelines around the vehicle, and which runs into which."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.course import Course
from admlops.synthetic.world import Connector, World

Array = NDArray[np.float64]

AHEAD_M, ASIDE_M = 50.0, 25.0
"""OpenLane-V2 annotates what lies within these of the vehicle."""
POINTS = 201
STEP_M = 0.25
STRAIGHT_RAD = 0.1
SHORTEST_M = 2.0
"""What is left of a centreline at the border counts from this length on."""


@dataclass(frozen=True)
class Centreline:
    """A lane or a way through the junction, in driving direction. `arm` is where it begins.

    `movement` is how a way goes: `straight`, `near` (the short turn) or `far` (across the oncoming traffic).
    """

    number: int
    course: Course
    arm: str
    successors: tuple[int, ...]
    movement: str = ""

    @property
    def in_junction(self) -> bool:
        return bool(self.movement)


@dataclass(frozen=True)
class Piece:
    """What is seen of a centreline: points (201, 3) [m] in the ego frame, and whether its ends are its own."""

    line: Centreline
    identifier: str
    points: Array
    has_start: bool
    has_end: bool


def list_centrelines(world: World) -> list[Centreline]:
    """All lanes, then all ways through the junction, numbered in this order."""
    lanes, first = list(world.lanes), len(world.lanes)
    found = [
        Centreline(
            number=number,
            course=lane.course,
            arm=lane.arm,
            successors=tuple(first + k for k, way in enumerate(world.connectors) if way.start == lane),
        )
        for number, lane in enumerate(lanes)
    ]
    return found + [
        Centreline(
            number=first + k,
            course=way.course,
            arm=way.start.arm,
            successors=(lanes.index(way.end),),
            movement=_movement(way, world.drive_side),
        )
        for k, way in enumerate(world.connectors)
    ]


def _movement(way: Connector, drive_side: int) -> str:
    turn = float(sum(piece.length * piece.curvature for piece in way.course.pieces))
    if abs(turn) < STRAIGHT_RAD:
        return "straight"
    return "near" if turn * drive_side > 0 else "far"


def cut_pieces(lines: list[Centreline], ego_pose: Array) -> list[Piece]:
    """Return what lies around a vehicle at `ego_pose` (4, 4), in the order of the lines."""
    return [piece for line in lines for piece in _cut(line, ego_pose)]


def relate(pieces: list[Piece]) -> NDArray[np.int8]:
    """(P, P): 1 where the row's piece ends where the column's begins, and traffic may go on there."""
    relation = np.zeros((len(pieces), len(pieces)), dtype=np.int8)
    for i, before in enumerate(pieces):
        for j, after in enumerate(pieces):
            if before.has_end and after.has_start and after.line.number in before.line.successors:
                relation[i, j] = 1
    return relation


def _cut(line: Centreline, ego_pose: Array) -> Iterator[Piece]:
    arcs = np.linspace(0.0, line.course.length, max(2, int(np.ceil(line.course.length / STEP_M)) + 1))
    world = np.column_stack([line.course.poses(arcs)[:, :2], np.zeros(len(arcs))])
    local = (world - ego_pose[:3, 3]) @ ego_pose[:3, :3]
    inside = (np.abs(local[:, 0]) <= AHEAD_M) & (np.abs(local[:, 1]) <= ASIDE_M)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], inside, [False]]).astype(np.int8)))
    for count, (start, end) in enumerate(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True)):
        points = local[start:end]
        if len(points) < 2 or _length(points)[-1] < SHORTEST_M:
            continue
        identifier = str(line.number) if count == 0 else f"{line.number}-{count}"
        yield Piece(line, identifier, _resample(points), start == 0, end == len(local))


def _length(points: Array) -> Array:
    """The way (N,) [m] along a line to each of its points."""
    return np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])


def _resample(points: Array) -> Array:
    along = _length(points)
    at = np.linspace(0.0, along[-1], POINTS)
    return np.column_stack([np.interp(at, along, points[:, axis]) for axis in range(3)])
