"""Shapes of what drives: cars, vans, trucks, buses, two-wheelers. Each fills its box (length, width, height)."""

from __future__ import annotations

import numpy as np

from admlops.synthetic.mesh import Colour, Mesh, MeshBuilder

GLASS: Colour = (46.0, 56.0, 66.0)
TYRE: Colour = (26.0, 26.0, 28.0)
RIM: Colour = (150.0, 152.0, 156.0)
DARK: Colour = (34.0, 34.0, 36.0)
PLATE: Colour = (232.0, 228.0, 200.0)
WHITE_LAMP: Colour = (250.0, 246.0, 224.0)
RED_LAMP: Colour = (196.0, 26.0, 22.0)


def make_car(length: float, width: float, height: float, colour: Colour, *, lamps: bool, van: bool = False) -> Mesh:
    """A saloon, or with `van` a one-box car."""
    build = MeshBuilder()
    half, side = length / 2, width / 2
    radius = 0.32
    _wheels(build, (length * 0.31, -length * 0.30), side, radius)
    waist = 0.55 * height
    profile = [
        (-half, 0.22),
        (half - 0.05, 0.20),
        (half, 0.36),
        (half - 0.06, waist * 0.80),
        (length * 0.20, waist),
        (-half + 0.06, waist),
        (-half, waist * 0.85),
    ]
    build.prism(profile, (-side, side), colour)
    _car_details(build, half, side, waist, lamps=lamps)
    _wheel_discs(build, (length * 0.31, -length * 0.30), side, radius)
    back, front = (-0.47, 0.30) if van else (-0.40, 0.24)
    top_back, top_front = (-0.45, 0.16) if van else (-0.27, 0.06)
    base = (length * back, length * front, -side * 0.94, side * 0.94)
    top = (length * top_back, length * top_front, -side * 0.76, side * 0.76)
    faces = build.frustum(base, top, (waist, height), colour, layer=2)
    build.decal(faces[0], (0.06, 0.94), (0.08, 0.90), GLASS)
    build.decal(faces[2], (0.08, 0.92), (0.12, 0.88), GLASS)
    for quad in (faces[1], faces[3]):
        build.decal(quad, (0.08, 0.47), (0.12, 0.86), GLASS)
        build.decal(quad, (0.53, 0.92), (0.12, 0.86), GLASS)
    return build.build()


def make_truck(length: float, width: float, height: float, colour: Colour, *, lamps: bool) -> Mesh:
    """A box truck: cab in `colour`, light cargo body."""
    build = MeshBuilder()
    half, side = length / 2, width / 2
    axles = (half - 1.2, -half + 1.1, -half + 2.3)
    _wheels(build, axles, side, 0.48)
    cab_back = half - 2.0
    cargo: Colour = (204.0, 202.0, 196.0)
    faces = build.frustum(
        (cab_back, half, -side * 0.96, side * 0.96),
        (cab_back, half - 0.25, -side * 0.94, side * 0.94),
        (0.45, min(height * 0.86, 2.7)),
        colour,
    )
    build.decal(faces[0], (0.06, 0.94), (0.52, 0.90), GLASS)
    build.decal(faces[0], (0.05, 0.20), (0.06, 0.16), WHITE_LAMP, glow=lamps)
    build.decal(faces[0], (0.80, 0.95), (0.06, 0.16), WHITE_LAMP, glow=lamps)
    for quad in (faces[1], faces[3]):
        build.decal(quad, (0.2, 0.8), (0.55, 0.88), GLASS)
    faces = build.block((-half, -side, 0.75), (cab_back - 0.12, side, height), cargo)
    build.decal(faces[2], (0.02, 0.49), (0.03, 0.97), (188.0, 186.0, 182.0))
    build.decal(faces[2], (0.51, 0.98), (0.03, 0.97), (188.0, 186.0, 182.0))
    for quad in (faces[1], faces[3]):
        build.decal(quad, (0.08, 0.92), (0.35, 0.62), colour)
    faces = build.block((-half, -side * 0.94, 0.45), (cab_back, side * 0.94, 0.75), DARK)
    build.decal(faces[2], (0.02, 0.14), (0.1, 0.9), RED_LAMP, glow=lamps)
    build.decal(faces[2], (0.86, 0.98), (0.1, 0.9), RED_LAMP, glow=lamps)
    _wheel_discs(build, axles, side, 0.48)
    return build.build()


def make_bus(length: float, width: float, height: float, colour: Colour, *, lamps: bool) -> Mesh:
    """A city bus: one long box with a window band and doors."""
    build = MeshBuilder()
    half, side = length / 2, width / 2
    axles = (half - 2.6, -half + 3.0)
    _wheels(build, axles, side, 0.48)
    faces = build.frustum(
        (-half, half, -side, side),
        (-half, half - 0.12, -side * 0.97, side * 0.97),
        (0.32, height),
        colour,
        lid=(214.0, 214.0, 210.0),
    )
    build.decal(faces[0], (0.05, 0.95), (0.34, 0.80), GLASS)
    build.decal(faces[0], (0.2, 0.8), (0.84, 0.95), (240.0, 180.0, 60.0), glow=lamps)
    build.decal(faces[2], (0.1, 0.9), (0.45, 0.80), GLASS)
    for quad, red in ((faces[0], False), (faces[2], True)):
        for across in ((0.04, 0.16), (0.84, 0.96)):
            build.decal(quad, across, (0.06, 0.14), RED_LAMP if red else WHITE_LAMP, glow=lamps)
    for quad in (faces[1], faces[3]):
        panes = int(length / 1.5)
        for k in range(panes):
            build.decal(quad, (0.02 + 0.96 * k / panes, 0.01 + 0.96 * (k + 1) / panes), (0.42, 0.82), GLASS)
        build.decal(quad, (0.0, 1.0), (0.10, 0.20), (230.0, 230.0, 226.0))
    _wheel_discs(build, axles, side, 0.48)
    return build.build()


def make_two_wheeler(length: float, height: float, colour: Colour, *, motor: bool, rider: Colour | None) -> Mesh:
    """A bicycle or, with `motor`, a motorcycle; `rider` is the colour of the rider's jacket."""
    build = MeshBuilder()
    radius = 0.32 if motor else 0.34
    tread = 0.07 if motor else 0.025
    for x in (length / 2 - radius, -length / 2 + radius):
        build.part(1)
        _ring(build, x, radius, tread)
    front, back = length / 2 - radius, -length / 2 + radius
    if motor:
        build.frustum((-0.32, 0.30, -0.16, 0.16), (-0.28, 0.30, -0.18, 0.18), (0.22, 0.56), DARK)
        build.frustum((-0.10, 0.34, -0.15, 0.15), (0.0, 0.32, -0.10, 0.10), (0.56, 0.90), colour)
        build.frustum((back - 0.1, -0.10, -0.15, 0.15), (back - 0.16, -0.10, -0.13, 0.13), (0.64, 0.80), DARK)
        build.frustum(
            (front - 0.34, front - 0.1, -0.1, 0.1), (front - 0.34, front - 0.2, -0.08, 0.08), (0.6, 0.98), colour
        )
        build.block((front - 0.30, -0.33, 0.96), (front - 0.22, 0.33, 1.02), DARK)
    else:
        for a, b in (
            ((back, radius), (0.0, 0.32)),
            ((0.0, 0.32), (front - 0.15, 0.80)),
            ((-0.18, 0.82), (front - 0.15, 0.80)),
            ((0.0, 0.32), (-0.18, 0.90)),
            ((front, radius), (front - 0.2, 0.98)),
        ):
            build.part(1)
            _bar(build, a, b, colour)
        build.block((front - 0.24, -0.28, 0.96), (front - 0.18, 0.28, 1.0), DARK)
        build.block((-0.32, -0.09, 0.88), (-0.08, 0.09, 0.94), DARK)
    if rider is not None:
        _add_rider(build, height, rider, motor=motor)
    else:
        build.column((front - 0.2, 0.0), (0.015, 0.015), (1.0, height), DARK, sides=4)
    return build.build()


def _add_rider(build: MeshBuilder, height: float, jacket: Colour, *, motor: bool) -> None:
    trousers: Colour = (52.0, 56.0, 74.0)
    for y in (-0.13, 0.13):
        build.frustum((-0.02, 0.18, y - 0.07, y + 0.07), (-0.22, 0.02, y - 0.08, y + 0.08), (0.30, 0.95), trousers)
    build.frustum((-0.30, -0.02, -0.2, 0.2), (-0.05, 0.18, -0.23, 0.23), (0.9, height - 0.28), jacket)
    build.ball((0.1, 0.0, height - 0.14), (0.12, 0.11, 0.14), (60.0, 60.0, 66.0) if motor else (214.0, 176.0, 148.0))


def _ring(build: MeshBuilder, x: float, radius: float, tread: float) -> None:
    """A wheel seen from the side, as a ring one can look through."""
    angles = np.linspace(0, 2 * np.pi, 13)
    outer = np.column_stack([x + radius * np.cos(angles), np.zeros(13), radius + radius * np.sin(angles)])
    inner = np.column_stack(
        [x + (radius - 0.06) * np.cos(angles), np.zeros(13), radius + (radius - 0.06) * np.sin(angles)]
    )
    for i in range(12):
        build.face([outer[i], outer[i + 1], inner[i + 1], inner[i]], TYRE, double=True)
    build.face(
        [(x + 0.0, -tread, 0.0), (x + 0.0, tread, 0.0), (x, tread, 2 * radius), (x, -tread, 2 * radius)],
        TYRE,
        double=True,
    )


def _bar(build: MeshBuilder, a: tuple[float, float], b: tuple[float, float], colour: Colour) -> None:
    along = np.subtract(b, a)
    normal = np.array([-along[1], along[0]]) / np.hypot(*along) * 0.025
    corners = [np.add(a, normal), np.subtract(a, normal), np.subtract(b, normal), np.add(b, normal)]
    build.face([(x, 0.0, z) for x, z in corners], colour, double=True)


def _wheels(build: MeshBuilder, axles: tuple[float, ...], side: float, radius: float) -> None:
    """Tyres under the body, and the dark floor between them."""
    for x in axles:
        for y in (-side + 0.12, side - 0.12):
            build.frustum(
                (x - radius * 0.7, x + radius * 0.7, y - 0.1, y + 0.1),
                (x - radius, x + radius, y - 0.1, y + 0.1),
                (0.0, radius),
                TYRE,
                layer=0,
            )
    span = (min(axles) - 0.3, max(axles) + 0.3, -side * 0.8, side * 0.8)
    build.frustum(span, span, (0.18, 0.35), DARK, layer=0)


def _wheel_discs(build: MeshBuilder, axles: tuple[float, ...], side: float, radius: float) -> None:
    angles = np.arange(12) * 2 * np.pi / 12
    for sign in (-1.0, 1.0):
        order = angles if sign < 0 else angles[::-1]
        for x in axles:
            for r, colour in ((radius, TYRE), (radius * 0.6, RIM)):
                points = np.column_stack([x + r * np.cos(order), np.full(12, sign * side), radius + r * np.sin(order)])
                build.face(points, colour)


def _car_details(build: MeshBuilder, half: float, side: float, waist: float, *, lamps: bool) -> None:
    """Lamps, plates, bumpers and door lines on the body."""
    front = np.array(
        [(half, -side, 0.36), (half, side, 0.36), (half - 0.06, side, waist * 0.8), (half - 0.06, -side, waist * 0.8)]
    )
    for across in ((0.03, 0.24), (0.76, 0.97)):
        build.decal(front, across, (0.45, 0.85), WHITE_LAMP, glow=lamps)
    build.decal(front, (0.30, 0.70), (0.35, 0.75), DARK)
    build.decal(front, (0.38, 0.62), (0.05, 0.25), PLATE)
    rear = np.array(
        [(-half, side, 0.22), (-half, -side, 0.22), (-half, -side, waist * 0.85), (-half, side, waist * 0.85)]
    )
    for across in ((0.03, 0.22), (0.78, 0.97)):
        build.decal(rear, across, (0.68, 0.95), RED_LAMP, glow=lamps)
    build.decal(rear, (0.36, 0.64), (0.45, 0.65), PLATE)
    build.decal(rear, (0.0, 1.0), (0.0, 0.22), DARK)
    for sign in (-1.0, 1.0):
        ends = (-half, half) if sign < 0 else (half, -half)
        quad = np.array(
            [
                (ends[0], sign * side, 0.22),
                (ends[1], sign * side, 0.22),
                (ends[1], sign * side, waist * 0.8),
                (ends[0], sign * side, waist * 0.8),
            ]
        )
        build.decal(quad, (0.02, 0.98), (0.0, 0.10), DARK)
        build.decal(quad, (0.495, 0.505), (0.15, 1.0), DARK)
