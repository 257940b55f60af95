"""Solids made of flat faces, and the builder that the shapes are made with.

A mesh consists of convex parts, so that back-face culling and painting the parts from far to near is exact enough; a
part's later faces (windows, lamps) lie on its earlier ones.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Colour = tuple[float, float, float]


@dataclass(frozen=True)
class Mesh:
    """Faces in the object's frame: x forward, y left, z up, origin on the ground under the centre.

    Vertices (V, 3) of face f are `starts[f] : starts[f] + counts[f]`; normals (F, 3); colours (F, 3) RGB 0..255;
    `glow` (F,) faces shine on their own, `double` (F,) faces are seen from both sides; `part` (F,) indexes
    `part_layer` (P,) and `part_center` (P, 3).
    """

    vertices: Array
    starts: NDArray[np.int64]
    counts: NDArray[np.int64]
    normals: Array
    colours: Array
    glow: NDArray[np.bool_]
    double: NDArray[np.bool_]
    part: NDArray[np.int64]
    part_layer: NDArray[np.int64]
    part_center: Array
    radius: float


@dataclass
class MeshBuilder:
    """Collects parts and faces, then `build()`s the mesh."""

    faces: list[tuple[Array, Colour, bool, bool, int]] = field(default_factory=list)
    layers: list[int] = field(default_factory=list)

    def part(self, layer: int = 1) -> None:
        """Begin a convex part; lower layers are painted first."""
        self.layers.append(layer)

    def face(self, points: object, colour: Colour, *, glow: bool = False, double: bool = False) -> Array:
        """Add a face whose points (N, 3) run counterclockwise seen from outside; returns the points."""
        outline = np.asarray(points, dtype=np.float64)
        self.faces.append((outline, colour, glow, double, len(self.layers) - 1))
        return outline

    def block(self, low: tuple[float, float, float], high: tuple[float, float, float], colour: Colour) -> list[Array]:
        """A box part: faces front, left, back, right, top."""
        base = (low[0], high[0], low[1], high[1])
        return self.frustum(base, base, (low[2], high[2]), colour)

    def frustum(
        self,
        base: tuple[float, float, float, float],
        top: tuple[float, float, float, float],
        z: tuple[float, float],
        colour: Colour,
        *,
        lid: Colour | None = None,
        layer: int = 1,
    ) -> list[Array]:
        """A part between two rectangles (x0, x1, y0, y1): faces front, left, back, right, top."""
        self.part(layer)
        rings = []
        for (x0, x1, y0, y1), height in ((base, z[0]), (top, z[1])):
            rings.append(np.array([(x1, y0, height), (x1, y1, height), (x0, y1, height), (x0, y0, height)]))
        low, high = rings
        sides = [self.face([low[i], low[(i + 1) % 4], high[(i + 1) % 4], high[i]], colour) for i in range(4)]
        return [*sides, self.face(high, lid or colour)]

    def prism(self, profile: object, y: tuple[float, float], colour: Colour, *, layer: int = 1) -> None:
        """A convex side profile (N, 2) of x, z, counterclockwise seen from the right, extruded over y."""
        self.part(layer)
        outline = np.asarray(profile, dtype=np.float64)
        right = np.insert(outline, 1, y[0], axis=1)
        left = np.insert(outline, 1, y[1], axis=1)
        self.face(right, colour)
        self.face(left[::-1], colour)
        for i in range(len(outline)):
            j = (i + 1) % len(outline)
            self.face([right[j], right[i], left[i], left[j]], colour)

    def column(
        self,
        at: tuple[float, float],
        radii: tuple[float, float],
        z: tuple[float, float],
        colour: Colour,
        *,
        sides: int = 6,
        layer: int = 1,
    ) -> None:
        """A round part about a vertical axis, from radius to radius."""
        self.part(layer)
        angles = np.arange(sides) * 2 * np.pi / sides
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        low = np.column_stack([at + radii[0] * ring, np.full(sides, z[0])])
        high = np.column_stack([at + radii[1] * ring, np.full(sides, z[1])])
        for i in range(sides):
            j = (i + 1) % sides
            self.face([low[i], low[j], high[j], high[i]], colour)
        self.face(high, colour)

    def ball(
        self,
        at: tuple[float, float, float],
        radii: tuple[float, float, float],
        colour: Colour,
        *,
        sides: int = 8,
        rings: int = 4,
    ) -> None:
        """An ellipsoid part."""
        self.part()
        angles = np.arange(sides) * 2 * np.pi / sides
        lift = np.linspace(-np.pi / 2, np.pi / 2, rings + 1)
        flat, high = np.cos(lift)[:, None], np.broadcast_to(np.sin(lift)[:, None], (rings + 1, sides))
        grid = np.stack([flat * np.cos(angles), flat * np.sin(angles), high], axis=-1) * radii + at
        for k in range(rings):
            for i in range(sides):
                j = (i + 1) % sides
                quad = [grid[k, i], grid[k, j], grid[k + 1, j], grid[k + 1, i]]
                if k == 0:
                    quad = [grid[0, 0], grid[1, j], grid[1, i]]
                elif k == rings - 1:
                    quad = [grid[k, i], grid[k, j], grid[k + 1, 0]]
                self.face(quad, colour)

    def decal(
        self, quad: Array, across: tuple[float, float], up: tuple[float, float], colour: Colour, *, glow: bool = False
    ) -> None:
        """A rectangle on the last part's face `quad` (4, 3): shares of its width and height."""
        corners = []
        for u, v in ((across[0], up[0]), (across[1], up[0]), (across[1], up[1]), (across[0], up[1])):
            low = quad[0] + (quad[1] - quad[0]) * u
            high = quad[3] + (quad[2] - quad[3]) * u
            corners.append(low + (high - low) * v)
        self.face(corners, colour, glow=glow)

    def build(self) -> Mesh:
        counts = np.array([len(face[0]) for face in self.faces])
        part = np.array([face[4] for face in self.faces])
        vertices = np.concatenate([face[0] for face in self.faces])
        starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
        owner = np.repeat(part, counts)
        centers = np.zeros((len(self.layers), 3))
        np.add.at(centers, owner, vertices)
        centers /= np.bincount(owner, minlength=len(self.layers))[:, None]
        return Mesh(
            vertices=vertices,
            starts=starts,
            counts=counts,
            normals=_normals(vertices, starts, counts),
            colours=np.array([face[1] for face in self.faces], dtype=np.float64),
            glow=np.array([face[2] for face in self.faces]),
            double=np.array([face[3] for face in self.faces]),
            part=part,
            part_layer=np.array(self.layers),
            part_center=centers,
            radius=float(np.linalg.norm(vertices, axis=1).max()),
        )


def _normals(vertices: Array, starts: NDArray[np.int64], counts: NDArray[np.int64]) -> Array:
    """Unit normals (F, 3) of flat outlines that lie one after the other in `vertices`, by Newell's sum."""
    following = np.arange(1, len(vertices) + 1)
    following[starts + counts - 1] = starts
    a, b = vertices, vertices[following]
    cross = [a[:, i] * b[:, j] - a[:, j] * b[:, i] for i, j in ((1, 2), (2, 0), (0, 1))]
    normals = np.add.reduceat(np.stack(cross, axis=1), starts)
    return np.asarray(normals / np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12))


def clip_polygon(points: Array, depth: Array) -> Array:
    """The part (M, 3) of an outline (N, 3) where `depth` (N,), linear along its edges, is not negative."""
    kept: list[Array] = []
    for i in range(len(points)):
        j = (i + 1) % len(points)
        if depth[i] >= 0:
            kept.append(points[i])
        if (depth[i] >= 0) != (depth[j] >= 0):
            kept.append(points[i] + (points[j] - points[i]) * (depth[i] / (depth[i] - depth[j])))
    return np.array(kept).reshape(-1, 3)
