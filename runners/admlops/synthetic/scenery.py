"""What stands along the roads and gets no box: buildings, trees, lamp posts, traffic signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from shapely import affinity
from shapely.geometry import Point, box
from shapely.ops import unary_union

from admlops.synthetic import figures
from admlops.synthetic.light import Light
from admlops.synthetic.mesh import Mesh
from admlops.synthetic.randomness import make_generator
from admlops.synthetic.world import KERB_WIDTH, WALKWAY_WIDTH, Arm, World

Array = NDArray[np.float64]

SIGNAL_HEIGHT = 3.4


@dataclass(frozen=True)
class Prop:
    """A fixed thing: pose (x, y, heading), shape, LiDAR solids (K, 6) in its frame, ground outline (N, 2) in the
    world, and the height that casts its shadow."""

    pose: Array
    mesh: Mesh
    solids: Array
    outline: Array
    height: float


def place_scenery(world: World, light: Light, seed: int) -> list[Prop]:
    """All props of a world; the light only decides which windows and lamps shine."""
    random = make_generator("scenery", seed, world.location)
    props = []
    for arm in world.arms.values():
        props += _plant_trees(world, arm, random)
        props += _set_posts(arm, light, random)
    props += _set_signals(world)
    return props + _build(world, light, random)


def _plant_trees(world: World, arm: Arm, random: np.random.Generator) -> list[Prop]:
    props = []
    paved = world.paved.union(world.carpark.buffer(1))
    for side in (-1.0, 1.0):
        at = float(random.uniform(4, 14))
        while at < arm.course.length - 4:
            offset = side * (arm.half_width + KERB_WIDTH + WALKWAY_WIDTH + float(random.uniform(1.2, 2.4)))
            x, y, heading = arm.course.shifted(offset).poses(at)[0]
            height, spread = float(random.uniform(5.0, 9.0)), float(random.uniform(1.8, 3.0))
            at += float(random.uniform(8, 20))
            if paved.distance(Point(x, y)) < 0.6:
                continue
            mesh = figures.make_tree(height, spread, random)
            solids = np.array(
                [
                    (0, 0, height * 0.3, 0.3, 0.3, height * 0.6),
                    (0, 0, height * 0.72, spread * 1.2, spread * 1.2, height * 0.4),
                ]
            )
            angles = np.arange(8) * np.pi / 4
            outline = np.stack([x + spread * 0.8 * np.cos(angles), y + spread * 0.8 * np.sin(angles)], axis=1)
            props.append(Prop(np.array([x, y, heading]), mesh, solids, outline, height * 0.7))
    return props


def _set_posts(arm: Arm, light: Light, random: np.random.Generator) -> list[Prop]:
    props = []
    for side in (-1.0, 1.0):
        for at in np.arange(float(random.uniform(10, 20)), arm.course.length - 5, 32.0):
            course = arm.course.shifted(side * (arm.half_width + KERB_WIDTH + 0.45))
            x, y, heading = course.poses(float(at))[0]
            turned = heading + (np.pi if side > 0 else 0.0)
            props.append(make_post(np.array([x, y, turned]), figures.make_lamp_post(8.2, lit=light.lamps), 8.2))
    return props


def make_post(pose: Array, mesh: Mesh, height: float) -> Prop:
    outline = pose[:2] + 0.09 * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])
    return Prop(pose, mesh, np.array([(0, 0, height / 2, 0.16, 0.16, height)]), outline, height * 0.6)


def _set_signals(world: World) -> list[Prop]:
    """A signal beside every stop line, facing the traffic: green for the main road."""
    return [
        make_post(
            kerbside_pose(world, arm, arm.stop_distance),
            figures.make_signal(SIGNAL_HEIGHT, green=has_green(arm)),
            SIGNAL_HEIGHT,
        )
        for arm in world.arms.values()
    ]


def has_green(arm: Arm) -> bool:
    """Tell whether the signal of an arm shows green; it never changes."""
    return arm.name.startswith("main")


def kerbside_pose(world: World, arm: Arm, distance: float) -> Array:
    """x, y, heading (3,) of what faces the traffic that runs to the junction, `distance` [m] before it, at its kerb."""
    side = world.drive_side * (1 if arm.junction_at_end else -1)
    course = arm.course.shifted(side * (arm.half_width + KERB_WIDTH + 0.5))
    along = min(max(arm.at(distance), 0.0), arm.course.length)
    x, y, heading = course.poses(along)[0]
    return np.array([x, y, heading + (np.pi if arm.junction_at_end else 0.0)])


def _build(world: World, light: Light, random: np.random.Generator) -> list[Prop]:
    """Buildings along the arms, never on paved ground nor on each other."""
    props: list[Prop] = []
    taken = unary_union([world.paved.buffer(3.5), world.carpark.buffer(2.0)])
    for arm in world.arms.values():
        for side in (-1.0, 1.0):
            at = float(random.uniform(2, 8))
            while at < arm.course.length:
                length, depth = float(random.uniform(10, 24)), float(random.uniform(9, 15))
                height = float(random.choice([6.8, 10.2, 13.6, 17.0, 23.8]))
                setback = arm.half_width + KERB_WIDTH + WALKWAY_WIDTH + float(random.uniform(5.0, 9.0)) + depth / 2
                x, y, heading = arm.course.shifted(side * setback).poses(at + length / 2)[0]
                at += length + float(random.uniform(1.5, 9.0))
                area = affinity.rotate(box(-length / 2, -depth / 2, length / 2, depth / 2), heading, (0, 0), True)
                area = affinity.translate(area, x, y)
                if area.intersects(taken):
                    continue
                taken = taken.union(area.buffer(1.0))
                wall = np.array([150.0, 142.0, 132.0]) * random.uniform(0.7, 1.3) + random.uniform(-22, 22, 3)
                wall = np.clip(wall, 60, 225)
                colour = float(wall[0]), float(wall[1]), float(wall[2])
                mesh = figures.make_building(length, depth, height, colour, lit=light.lamps, random=random)
                solids = np.array([(0, 0, height / 2, length, depth, height)])
                outline = np.asarray(area.exterior.coords)[:-1]
                props.append(Prop(np.array([x, y, heading]), mesh, solids, outline, height))
    return props
