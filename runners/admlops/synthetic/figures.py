"""Shapes of what does not drive: pedestrians, cones, barriers, bicycle racks, and the scenery along the road."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from admlops.synthetic.mesh import Colour, Mesh, MeshBuilder

SKIN: Colour = (206.0, 164.0, 136.0)


def make_pedestrian(
    length: float, width: float, height: float, clothes: tuple[Colour, Colour], *, stride: bool
) -> Mesh:
    """A standing or, with `stride`, walking person in a jacket and trousers."""
    build = MeshBuilder()
    jacket, trousers = clothes
    hip, shoulder = height * 0.48, height * 0.84
    reach = length / 2 - 0.08 if stride else 0.06
    for y, x in ((-0.10, reach), (0.10, -reach)):
        build.frustum((x - 0.08, x + 0.08, y - 0.06, y + 0.06), (-0.08, 0.08, y - 0.09, y + 0.09), (0.0, hip), trousers)
    torso = min(width * 0.36, 0.24)
    build.frustum((-0.11, 0.11, -torso * 0.8, torso * 0.8), (-0.12, 0.12, -torso, torso), (hip, shoulder), jacket)
    for y, x in ((-width / 2 + 0.05, -reach), (width / 2 - 0.05, reach)):
        build.frustum(
            (x - 0.05, x + 0.05, y - 0.05, y + 0.05),
            (-0.06, 0.06, np.sign(y) * torso - 0.05, np.sign(y) * torso + 0.05),
            (hip, shoulder - 0.02),
            jacket,
        )
    build.ball((0.0, 0.0, height - 0.125), (0.11, 0.095, 0.125), SKIN)
    build.ball((-0.02, 0.0, height - 0.085), (0.11, 0.1, 0.085), (52.0, 40.0, 34.0), sides=6, rings=3)
    return build.build()


def make_cone(size: float, height: float) -> Mesh:
    """An orange traffic cone with a white band."""
    build = MeshBuilder()
    orange: Colour = (226.0, 92.0, 34.0)
    half = size / 2
    build.frustum((-half, half, -half, half), (-half, half, -half, half), (0.0, 0.05), (60.0, 50.0, 46.0), layer=0)
    cuts = ((0.05, 0.42, orange), (0.42, 0.70, (232.0, 230.0, 226.0)), (0.70, 1.0, orange))
    for low, high, colour in cuts:
        radii = half * 0.85 * (1.06 - low), half * 0.85 * (1.06 - high)
        build.column((0.0, 0.0), radii, (height * low, height * high), colour, sides=8, layer=1 + int(low * 10))
    return build.build()


def make_barrier(length: float, width: float, height: float, colour: Colour) -> Mesh:
    """A jersey barrier whose long side (`width` of its box) lies across its heading."""
    build = MeshBuilder()
    half, side = length / 2, width / 2
    build.frustum((-half, half, -side, side), (-half * 0.45, half * 0.45, -side, side), (0.0, height * 0.42), colour)
    faces = build.frustum(
        (-half * 0.45, half * 0.45, -side, side),
        (-half * 0.3, half * 0.3, -side, side),
        (height * 0.42, height),
        colour,
        layer=2,
    )
    for quad in (faces[0], faces[2]):
        build.decal(quad, (0.08, 0.92), (0.35, 0.65), (226.0, 224.0, 220.0))
    return build.build()


def make_rack(length: float, width: float, height: float) -> Mesh:
    """A row of hoops, two of them with a bicycle's wheels."""
    build = MeshBuilder()
    steel: Colour = (150.0, 154.0, 160.0)
    for k, y in enumerate(np.linspace(-width / 2 + 0.06, width / 2 - 0.06, max(3, int(width / 0.9)))):
        for x in (-length * 0.3, length * 0.3):
            build.column((x, float(y)), (0.03, 0.03), (0.0, height), steel, sides=5)
        build.block((-length * 0.3, float(y) - 0.03, height - 0.06), (length * 0.3, float(y) + 0.03, height), steel)
        if k % 2:
            for x in (-length / 2 + 0.34, length / 2 - 0.34):
                build.part()
                angles = np.linspace(0, 2 * np.pi, 11)
                for a, b in pairwise(angles):
                    ring = [
                        (x + r * np.cos(t), float(y) + 0.08, 0.34 + r * np.sin(t))
                        for r, t in ((0.34, a), (0.34, b), (0.27, b), (0.27, a))
                    ]
                    build.face(ring, (30.0, 30.0, 32.0), double=True)
    return build.build()


def make_building(
    length: float, width: float, height: float, wall: Colour, *, lit: bool, random: np.random.Generator
) -> Mesh:
    """A block with rows of windows, some of them lit at dusk."""
    build = MeshBuilder()
    base = (-length / 2, length / 2, -width / 2, width / 2)
    faces = build.frustum(base, base, (0.0, height), wall, lid=(120.0, 120.0, 118.0))
    floors = max(1, int(height / 3.4))
    style = float(random.uniform(0.45, 0.9))
    for quad in faces[:4]:
        extent = float(np.linalg.norm(quad[1] - quad[0]))
        columns = max(1, int(extent / 3.2))
        build.decal(quad, (0.0, 1.0), (0.0, 2.8 / height), (wall[0] * 0.72, wall[1] * 0.72, wall[2] * 0.74))
        for floor in range(1, floors):
            low = (floor * 3.4 + 0.9) / height
            for column in range(columns):
                across = (column + 0.5 - style / 2) / columns, (column + 0.5 + style / 2) / columns
                glow = lit and random.random() < 0.35
                shade = float(random.uniform(0.8, 1.2))
                colour = (236.0, 204.0, 140.0) if glow else (58.0 * shade, 70.0 * shade, 84.0 * shade)
                build.decal(quad, across, (low, min(0.985, low + 1.7 / height)), colour, glow=glow)
    return build.build()


def make_tree(height: float, spread: float, random: np.random.Generator) -> Mesh:
    """A trunk and a few overlapping balls of leaves."""
    build = MeshBuilder()
    build.column((0.0, 0.0), (0.16, 0.10), (0.0, height * 0.5), (88.0, 70.0, 52.0), sides=6, layer=0)
    green = np.array([64.0, 92.0, 42.0]) * random.uniform(0.8, 1.25)
    for _ in range(7):
        angle, out = random.uniform(0, 2 * np.pi), random.uniform(0.1, 0.5) * spread
        size = float(spread * random.uniform(0.4, 0.62))
        at = float(out * np.cos(angle)), float(out * np.sin(angle)), float(height * random.uniform(0.55, 0.82))
        tint = green * random.uniform(0.78, 1.2)
        build.ball(at, (size, size, size * 0.8), (float(tint[0]), float(tint[1]), float(tint[2])), sides=9, rings=5)
    return build.build()


def make_lamp_post(height: float, *, lit: bool) -> Mesh:
    """A post with an arm that reaches over the road along +y."""
    build = MeshBuilder()
    steel: Colour = (118.0, 122.0, 126.0)
    build.column((0.0, 0.0), (0.10, 0.06), (0.0, height), steel)
    build.block((-0.05, 0.0, height - 0.1), (0.05, 1.9, height), steel)
    build.block(
        (-0.14, 1.6, height - 0.22), (0.14, 2.3, height - 0.1), (250.0, 232.0, 180.0) if lit else (170.0, 172.0, 174.0)
    )
    return build.build()


def make_signal(height: float, *, green: bool) -> Mesh:
    """A traffic signal on a post, facing +x."""
    build = MeshBuilder()
    build.column((0.0, 0.0), (0.07, 0.07), (0.0, height - 0.9), (96.0, 98.0, 100.0))
    faces = build.block((-0.15, -0.17, height - 0.95), (0.15, 0.17, height), (28.0, 30.0, 30.0))
    colours = (
        (60.0, 200.0, 110.0) if green else (24.0, 40.0, 30.0),
        (50.0, 44.0, 24.0),
        (44.0, 20.0, 20.0) if green else (226.0, 40.0, 32.0),
    )
    for k, colour in enumerate(colours):
        lit = (k == 0) == green and k != 1
        build.decal(faces[0], (0.2, 0.8), (0.06 + 0.32 * k, 0.30 + 0.32 * k), colour, glow=lit)
    return build.build()
