"""Courses: plane curves made of straights and circular arcs, which is what roads, lanes and routes are here."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
STRAIGHT = 1e-9  # curvature [1/m] below which a piece is a straight line


@dataclass(frozen=True)
class Piece:
    """A part of constant curvature: `length` [m], `curvature` [1/m], positive to the left."""

    length: float
    curvature: float = 0.0


@dataclass(frozen=True)
class Course:
    """A curve from pose (x [m], y [m], heading [rad]) over its pieces; straight on beyond both ends."""

    x: float
    y: float
    heading: float
    pieces: tuple[Piece, ...]

    @cached_property
    def length(self) -> float:
        return float(sum(piece.length for piece in self.pieces))

    @cached_property
    def _starts(self) -> tuple[Array, Array, Array]:
        """Arc length (N,), pose (N, 3) and curvature (N,) at the start of every piece, with straights round them."""
        pose = np.array([self.x, self.y, self.heading])
        arcs, poses, curvatures = [0.0], [pose], []
        for piece in self.pieces:
            curvatures.append(piece.curvature)
            pose = _advance(pose[None], np.array([piece.length]), np.array([piece.curvature]))[0]
            arcs.append(arcs[-1] + piece.length)
            poses.append(pose)
        return np.array(arcs), np.array(poses), np.array([*curvatures, 0.0])

    def poses(self, arc: ArrayLike) -> Array:
        """Poses (N, 3), x y heading, at arc lengths (N,) [m]."""
        at = np.atleast_1d(np.asarray(arc, dtype=np.float64))
        arcs, poses, curvatures = self._starts
        index = np.clip(np.searchsorted(arcs, at, side="right") - 1, 0, len(arcs) - 1)
        curvature = np.where(at < 0, 0.0, curvatures[index])
        return _advance(poses[index], at - arcs[index], curvature)

    def curvatures(self, arc: ArrayLike) -> Array:
        """Curvatures (N,) [1/m] at arc lengths (N,) [m]."""
        at = np.atleast_1d(np.asarray(arc, dtype=np.float64))
        arcs, _, curvatures = self._starts
        index = np.clip(np.searchsorted(arcs, at, side="right") - 1, 0, len(arcs) - 1)
        return np.where(at < 0, 0.0, curvatures[index])

    def points(self, start: float, end: float, *, offset: float = 0.0, step: float = 2.0) -> Array:
        """Points (N, 2) from `start` to `end` [m of this course], `offset` [m] to its left."""
        inner = [arc for arc in self._starts[0] if start < arc < end]
        count = max(2, int(np.ceil((end - start) / step)) + 1) if self._curved(start, end) else 2
        arcs = np.unique(np.round(np.concatenate([np.linspace(start, end, count), inner]), 6))
        poses = self.poses(arcs)
        normal = np.stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])], axis=1)
        return np.asarray(poses[:, :2] + offset * normal)

    def shifted(self, offset: float) -> Course:
        """The parallel course `offset` [m] to the left."""
        pieces = tuple(
            Piece(piece.length * (1 - offset * piece.curvature), piece.curvature / (1 - offset * piece.curvature))
            for piece in self.pieces
        )
        x = self.x - offset * np.sin(self.heading)
        y = self.y + offset * np.cos(self.heading)
        return Course(float(x), float(y), self.heading, pieces)

    def reversed(self) -> Course:
        """The same curve, travelled the other way."""
        x, y, heading = self.poses(self.length)[0]
        pieces = tuple(Piece(piece.length, -piece.curvature) for piece in self.pieces[::-1])
        return Course(float(x), float(y), float(heading + np.pi), pieces)

    def section(self, start: float, end: float) -> Course:
        """The part between two arc lengths [m] inside the course."""
        arcs = self._starts[0]
        pieces = []
        for piece, first in zip(self.pieces, arcs, strict=False):
            length = min(end, first + piece.length) - max(start, first)
            if length > 1e-6:
                pieces.append(Piece(float(length), piece.curvature))
        x, y, heading = self.poses(start)[0]
        return Course(float(x), float(y), float(heading), tuple(pieces))

    def then(self, *others: Course) -> Course:
        """This course and the ones that continue it."""
        pieces = sum((other.pieces for other in others), self.pieces)
        return Course(self.x, self.y, self.heading, pieces)

    def _curved(self, start: float, end: float) -> bool:
        middle = self.curvatures([start, (start + end) / 2, end, *[a for a in self._starts[0] if start <= a <= end]])
        return bool((np.abs(middle) > STRAIGHT).any())


def connect_turn(start: Array, end: Array) -> Course:
    """The turn (straight, quarter circle, straight) from pose `start` to a pose `end` at a right angle to it."""
    delta = end[:2] - start[:2]
    ahead = float(delta @ [np.cos(start[2]), np.sin(start[2])])
    aside = float(delta @ [-np.sin(start[2]), np.cos(start[2])])
    radius = min(ahead, abs(aside))
    quarter = Piece(radius * np.pi / 2, float(np.sign(aside)) / radius)
    around = (Piece(ahead - radius), quarter, Piece(abs(aside) - radius))
    pieces = tuple(piece for piece in around if piece.length > 1e-6)
    return Course(float(start[0]), float(start[1]), float(start[2]), pieces)


def connect_straight(start: Array, end: Array) -> Course:
    """The straight line from pose `start` to a pose `end` that lies ahead of it."""
    length = float(np.hypot(*(end[:2] - start[:2])))
    return Course(float(start[0]), float(start[1]), float(start[2]), (Piece(length),))


def _advance(poses: Array, distance: Array, curvature: Array) -> Array:
    """Poses (N, 3) moved on by `distance` (N,) along arcs of `curvature` (N,)."""
    bent = np.abs(curvature) > STRAIGHT
    radius = 1 / np.where(bent, curvature, 1.0)
    turn = distance * np.where(bent, curvature, 0.0)
    ahead = np.where(bent, np.sin(turn) * radius, distance)
    aside = np.where(bent, (1 - np.cos(turn)) * radius, 0.0)
    cos, sin = np.cos(poses[:, 2]), np.sin(poses[:, 2])
    moved = [poses[:, 0] + cos * ahead - sin * aside, poses[:, 1] + sin * ahead + cos * aside, poses[:, 2] + turn]
    return np.stack(moved, axis=1)
