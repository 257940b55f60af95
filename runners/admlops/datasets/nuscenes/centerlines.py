"""Centrelines of the nuScenes map expansion as MapTRv2 takes them for ground truth: paths through the lane graph.

The lanes and lane connectors whose area reaches into a patch give their centrelines, sampled every 0.5 m at most,
rounded to millimetres and cut to the patch. Their points, rounded again, become nodes of a directed graph, joined along
each line and from the end of a line to the start of those it leads to. Every path from a node that nothing leads to, to
one that leads nowhere, is an element, simplified to within 0.2 m. Lanes that fork therefore appear once for every way
through.

Source: MapTRv2, tools/maptrv2/custom_nusc_map_converter.py (`CNuScenesMapExplorer`, `union_centerline`); the shape of
arc lines is that of nuscenes-devkit, map_expansion/arcline_path_utils.py.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

RESOLUTION_M = 0.5
DECIMALS = 3
SIMPLIFICATION_M = 0.2

TURNS = {"L": 1.0, "R": -1.0, "S": 0.0}
"""The curvature of an arc line's parts by the letters of its shape, times its radius."""

Points = NDArray[np.float64]
Node = tuple[float, float]


class ArcLine(msgspec.Struct, frozen=True):
    """Three arcs or straights one after another: `shape` is such as LSR, `start_pose` x, y [m] and yaw [rad]."""

    start_pose: tuple[float, float, float]
    shape: str
    radius: float
    segment_length: tuple[float, float, float]


class Neighbours(msgspec.Struct, frozen=True):
    """The tokens of the lanes before and after a lane."""

    incoming: list[str] = []
    outgoing: list[str] = []


@dataclass(frozen=True, kw_only=True)
class LaneLine:
    """A lane's area and centreline (N, 2) [m] in the global frame."""

    token: str
    area: BaseGeometry
    points: Points


def sample_lane(lines: Sequence[ArcLine]) -> Points:
    """The centreline of a lane (N, 2) [m], rounded to millimetres: each of its arc lines at equal steps up to 0.5 m."""
    return np.concatenate([np.zeros((0, 2)), *(_sample(line) for line in lines)]).round(DECIMALS)


def _sample(line: ArcLine) -> Points:
    length = math.fsum(line.segment_length)
    count = max(math.ceil(length / RESOLUTION_M) + 1, 2)
    along = np.linspace(0.0, length, count)
    x, y, yaw = line.start_pose
    points = np.empty((count, 2))
    start = 0.0
    for letter, part in zip(line.shape, line.segment_length, strict=True):
        curvature = TURNS[letter] / line.radius
        within = along >= start
        points[within] = _arc(x, y, yaw, curvature, along[within] - start)
        x, y = _arc(x, y, yaw, curvature, np.array([part]))[0]
        yaw += curvature * part
        start += part
    return points


def _arc(x: float, y: float, yaw: float, curvature: float, along: Points) -> Points:
    """Points at distances `along` an arc that starts at x, y."""
    turn = curvature * along
    if abs(curvature) < 1e-6:
        ahead, aside = along, np.zeros_like(along)
    else:
        ahead, aside = np.sin(turn) / curvature, (1.0 - np.cos(turn)) / curvature
    cosine, sine = math.cos(yaw), math.sin(yaw)
    return np.stack([x + cosine * ahead - sine * aside, y + sine * ahead + cosine * aside], axis=1)


def find_paths(lines: Mapping[str, BaseGeometry], neighbours: Mapping[str, Neighbours]) -> list[Points]:
    """The elements (N, 2) [m] from the lanes' centrelines in a patch, by token, in the patch frame."""
    parts = {token: _parts(line) for token, line in lines.items()}
    parts = {token: own for token, own in parts.items() if own}
    graph = _Graph()
    for token, own in parts.items():
        for nodes in own:
            for a, b in itertools.pairwise(nodes):
                graph.join(a, b)
        beside = neighbours.get(token, Neighbours())
        for other in beside.incoming:
            if other in parts:
                graph.join(parts[other][-1][-1], own[0][0])
        for other in beside.outgoing:
            if other in parts:
                graph.join(own[-1][-1], parts[other][0][0])
    paths = [shapely.LineString(path).simplify(SIMPLIFICATION_M, preserve_topology=True) for path in graph.paths()]
    return [shapely.get_coordinates(path) for path in paths]


def _parts(line: BaseGeometry) -> list[list[Node]]:
    """The nodes of each piece of a centreline; points, where it only touches the patch, are no piece."""
    pieces = [piece for piece in shapely.get_parts(line) if piece.geom_type == "LineString" and not piece.is_empty]
    return [[(x, y) for x, y in (shapely.get_coordinates(piece).round(DECIMALS) + 0.0).tolist()] for piece in pieces]


class _Graph:
    """A directed graph of points, in the order in which they were joined."""

    def __init__(self) -> None:
        self.after: dict[Node, dict[Node, None]] = {}
        self.before: dict[Node, dict[Node, None]] = {}

    def join(self, a: Node, b: Node) -> None:
        for node in (a, b):
            self.after.setdefault(node, {})
            self.before.setdefault(node, {})
        self.after[a][b] = None
        self.before[b][a] = None

    def paths(self) -> Iterator[list[Node]]:
        """Every path without a repeated node from a node with none before it to one with none after it."""
        for root in [node for node, before in self.before.items() if not before]:
            yield from self._paths_from(root)

    def _paths_from(self, root: Node) -> Iterator[list[Node]]:
        path = {root: None}
        ways = [iter(self.after[root])]
        while ways:
            node = next(ways[-1], None)
            if node is None:
                ways.pop()
                path.popitem()
            elif node not in path:
                if not self.after[node]:
                    yield [*path, node]
                else:
                    path[node] = None
                    ways.append(iter(self.after[node]))
