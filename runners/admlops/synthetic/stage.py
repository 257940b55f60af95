"""One scene with everything in it: where the ego vehicle, the actors and the props are at any time."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.actors import Actor
from admlops.synthetic.ground import build_ground
from admlops.synthetic.light import Light, choose_light
from admlops.synthetic.markings import choose_palette, list_paints
from admlops.synthetic.options import SceneSpec, SynthesisOptions
from admlops.synthetic.randomness import make_generator
from admlops.synthetic.renderer import Backdrop, Placed, make_backdrop
from admlops.synthetic.rig import Sensor, make_cameras, make_lidar
from admlops.synthetic.scenery import Prop, place_scenery
from admlops.synthetic.shadows import Caster, make_caster
from admlops.synthetic.sky import paint_panorama
from admlops.synthetic.traffic import Plan, plan_ego, populate
from admlops.synthetic.world import World, generate_world

Array = NDArray[np.float64]

KEYFRAME_S = 0.5
TEXEL_AT_FULL_SIZE = 0.04


@dataclass(frozen=True)
class Stage:
    """A scene ready to be sampled. Times are seconds since its first key frame."""

    spec: SceneSpec
    world: World
    plan: Plan
    light: Light
    actors: tuple[Actor, ...]
    props: tuple[Prop, ...]
    cameras: tuple[Sensor, ...]
    lidar: Sensor
    backdrop: Backdrop
    start_us: int

    def ego_pose(self, time: float) -> Array:
        """The ego vehicle's pose (4, 4): on the ground, with a little pitch and roll of its suspension."""
        x, y, heading = self.plan.ego.pose(time)
        pitch = 0.0016 * np.sin(2 * np.pi * time / 1.9) + 0.0010 * np.sin(2 * np.pi * time / 0.7 + 1.0)
        roll = 0.0018 * np.sin(2 * np.pi * time / 2.6 + 0.5)
        cy, sy, cp, sp, cr, sr = (
            np.cos(heading),
            np.sin(heading),
            np.cos(pitch),
            np.sin(pitch),
            np.cos(roll),
            np.sin(roll),
        )
        matrix = np.eye(4)
        yaw_matrix = np.array([[cy, -sy, 0.0], [sy, cy, 0.0], [0.0, 0.0, 1.0]])
        pitch_matrix = np.array([[cp, 0.0, sp], [0.0, 1.0, 0.0], [-sp, 0.0, cp]])
        roll_matrix = np.array([[1.0, 0.0, 0.0], [0.0, cr, -sr], [0.0, sr, cr]])
        matrix[:3, :3] = yaw_matrix @ pitch_matrix @ roll_matrix
        matrix[:2, 3] = x, y
        return matrix

    @cached_property
    def _prop_casters(self) -> list[Caster]:
        return [make_caster(prop.outline, prop.height, self.light) for prop in self.props]

    def place(self, time: float, *, without: int | None = None) -> tuple[list[Placed], list[Caster]]:
        """Meshes and shadow casters at `time`, all but the actor of index `without`."""
        things = [Placed(prop.mesh, prop.pose) for prop in self.props]
        casters = list(self._prop_casters)
        for actor in self.actors:
            if actor.index != without:
                pose = actor.motion.pose(time)
                things.append(Placed(actor.mesh, pose))
                casters.append(make_caster(outline(pose, actor.size), actor.size[2] * 0.85, self.light))
        return things, casters


def set_stage(spec: SceneSpec, options: SynthesisOptions) -> Stage:
    """Generate world, traffic, light and textures of a scene."""
    random = make_generator("scene", options.seed, spec.name)
    world = generate_world(spec.location, options.seed)
    light = choose_light(spec.index, random)
    plan = plan_ego(world, spec.order, random)
    duration = (options.samples - 1) * KEYFRAME_S
    actors = populate(world, plan, duration, light, random)
    path = np.array([plan.ego.pose(time)[:2] for time in np.linspace(0, duration, 2 + int(duration))])
    props = [p for p in place_scenery(world, light, options.seed) if np.hypot(*(path - p.pose[:2]).T).min() < 200.0]
    cameras = make_cameras(options.scale)
    ground = build_ground(
        list_paints(world, options.seed),
        choose_palette(world, options.seed).verge,
        path,
        light,
        texel=float(np.clip(TEXEL_AT_FULL_SIZE / options.scale, 0.05, 0.1)),
        random=random,
    )
    backdrop = make_backdrop(ground, paint_panorama(light, random), light, cameras, random)
    # The days of July 2018 on which nuScenes was recorded.
    start_us = 1_532_400_000_000_000 + spec.index * 3_600_000_000 + int(random.integers(0, 1_800_000_000))
    return Stage(spec, world, plan, light, tuple(actors), tuple(props), cameras, make_lidar(), backdrop, start_us)


def outline(pose: Array, size: tuple[float, float, float]) -> Array:
    """The ground corners (4, 2) of a box of `size` (width, length, height) at a pose x y heading."""
    half_width, half_length = size[0] / 2, size[1] / 2
    corners = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) * [half_length, half_width]
    cos, sin = np.cos(pose[2]), np.sin(pose[2])
    return np.asarray(corners @ np.array([[cos, sin], [-sin, cos]]) + pose[:2])
