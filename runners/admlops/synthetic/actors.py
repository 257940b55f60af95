"""Actors: everything that gets a box, with its nuScenes category, size, shape, motion and what a LiDAR sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic import figures, vehicles
from admlops.synthetic.mesh import Colour, Mesh
from admlops.synthetic.motion import Motion

Array = NDArray[np.float64]

MOVING = 0.3  # m/s from which a thing counts as moving


@dataclass(frozen=True)
class Actor:
    """`size` is width, length, height [m] as in nuScenes; `solids` (K, 6) are boxes x y z (centres) and l w h, in the
    actor's frame, strictly inside its box, that stop LiDAR rays."""

    category: str
    size: tuple[float, float, float]
    mesh: Mesh
    solids: Array
    motion: Motion
    state: str | None  # the attribute while it stands still
    index: int = -1

    def named(self, index: int) -> Actor:
        return replace(self, index=index)

    def moved(self, motion: Motion) -> Actor:
        return replace(self, motion=motion)

    def attribute(self, time: float) -> str | None:
        """The nuScenes attribute at `time`, None for classes that have none."""
        moving = self.motion.speed(time) > MOVING
        if self.category.startswith("human."):
            return "pedestrian.moving" if moving else "pedestrian.standing"
        if self.state is not None and self.state.startswith("vehicle."):
            return "vehicle.moving" if moving else self.state
        return self.state


class ActorMaker:
    """Makes actors of varied size and colour from one random stream."""

    def __init__(self, random: np.random.Generator, *, lamps: bool) -> None:
        self._random = random
        self._lamps = lamps

    def vehicle(self, motion: Motion, *, large: float, state: str = "vehicle.stopped") -> Actor:
        """Mostly a car; with probability `large` a truck or bus."""
        if self._random.random() >= large:
            return self.car(motion, state=state)
        return self.truck(motion, state=state) if self._random.random() < 0.5 else self.bus(motion, state=state)

    def car(self, motion: Motion, *, state: str) -> Actor:
        van = bool(self._random.random() < 0.3)
        height = self._vary(1.72 if van else 1.52, 0.05)
        size = self._vary(1.84, 0.04), self._vary(4.65 if van else 4.45, 0.06), height
        mesh = vehicles.make_car(size[1], size[0], size[2], self._car_colour(), lamps=self._lamps, van=van)
        cabin = (-0.08 * size[1], 0.0, 0.77 * height, 0.55 * size[1], 0.78 * size[0], 0.42 * height)
        body = (0.0, 0.0, 0.29 * height, size[1], size[0], 0.54 * height)
        return Actor("vehicle.car", size, mesh, _inset([body, cabin]), motion, state)

    def truck(self, motion: Motion, *, state: str) -> Actor:
        size = self._vary(2.45, 0.03), self._vary(7.4, 0.12), self._vary(3.3, 0.06)
        mesh = vehicles.make_truck(size[1], size[0], size[2], self._car_colour(), lamps=self._lamps)
        return Actor("vehicle.truck", size, mesh, _inset([_whole(size)]), motion, state)

    def bus(self, motion: Motion, *, state: str) -> Actor:
        size = self._vary(2.6, 0.02), self._vary(11.6, 0.04), self._vary(3.2, 0.04)
        colours = ((178.0, 44.0, 40.0), (52.0, 128.0, 84.0), (214.0, 184.0, 70.0), (60.0, 92.0, 150.0))
        colour = colours[int(self._random.integers(len(colours)))]
        mesh = vehicles.make_bus(size[1], size[0], size[2], colour, lamps=self._lamps)
        return Actor("vehicle.bus.rigid", size, mesh, _inset([_whole(size)]), motion, state)

    def cycle(self, motion: Motion, *, motor: bool, rider: bool) -> Actor:
        height = self._vary(1.75, 0.04) if rider else self._vary(1.12, 0.05)
        size = self._vary(0.72 if motor else 0.62, 0.05), self._vary(2.05 if motor else 1.72, 0.04), height
        jacket = self._clothes() if rider else None
        mesh = vehicles.make_two_wheeler(size[1], height, self._car_colour(), motor=motor, rider=jacket)
        low = (0.0, 0.0, 0.5 * min(height, 1.0), size[1] * 0.9, 0.3, min(height, 1.0))
        high = (0.0, 0.0, 0.5 * (height + 0.8), 0.5, 0.46, height - 0.8)
        category = "vehicle.motorcycle" if motor else "vehicle.bicycle"
        state = "cycle.with_rider" if rider else "cycle.without_rider"
        return Actor(category, size, mesh, _inset([low, high] if rider else [low]), motion, state)

    def pedestrian(self, motion: Motion, *, worker: bool = False) -> Actor:
        stride = motion.speed(0.0) > MOVING
        size = self._vary(0.64, 0.08), self._vary(0.78 if stride else 0.52, 0.08), self._vary(1.73, 0.06)
        jacket: Colour = (222.0, 138.0, 40.0) if worker else self._clothes()
        trousers = self._clothes()
        dark = (trousers[0] * 0.5, trousers[1] * 0.5, trousers[2] * 0.55)
        mesh = figures.make_pedestrian(size[1], size[0], size[2], (jacket, dark), stride=stride)
        body = (0.0, 0.0, size[2] / 2, min(0.42, size[1]), min(0.5, size[0]), size[2])
        category = "human.pedestrian.construction_worker" if worker else "human.pedestrian.adult"
        return Actor(category, size, mesh, _inset([body]), motion, "pedestrian.standing")

    def cone(self, motion: Motion) -> Actor:
        size = self._vary(0.42, 0.06), 0.0, self._vary(0.82, 0.1)
        size = size[0], size[0], size[2]
        solids = [(0.0, 0.0, size[2] / 2, size[0] * 0.6, size[0] * 0.6, size[2])]
        return Actor(
            "movable_object.trafficcone", size, figures.make_cone(size[0], size[2]), _inset(solids), motion, None
        )

    def barrier(self, motion: Motion, *, red: bool) -> Actor:
        size = 2.1, self._vary(0.56, 0.03), self._vary(1.02, 0.03)
        colour: Colour = (204.0, 78.0, 46.0) if red else (208.0, 206.0, 200.0)
        mesh = figures.make_barrier(size[1], size[0], size[2], colour)
        solids = [(0.0, 0.0, size[2] / 2, size[1] * 0.6, size[0], size[2])]
        return Actor("movable_object.barrier", size, mesh, _inset(solids), motion, None)

    def rack(self, motion: Motion) -> Actor:
        size = self._vary(5.2, 0.1), 1.85, 1.15
        mesh = figures.make_rack(size[1], size[0], size[2])
        solids = [
            (0.0, float(y), size[2] / 2, size[1] * 0.9, 0.12, size[2])
            for y in np.linspace(-size[0] / 2 + 0.2, size[0] / 2 - 0.2, 5)
        ]
        return Actor("static_object.bicycle_rack", size, mesh, _inset(solids), motion, None)

    def _vary(self, value: float, share: float) -> float:
        """`value` varied by a relative standard deviation, in millimetres as the tables store it."""
        return round(
            float(value * np.clip(1 + share * self._random.standard_normal(), 1 - 2 * share, 1 + 2 * share)), 3
        )

    def _car_colour(self) -> Colour:
        """Grey, white and black mostly; sometimes a colour."""
        if self._random.random() < 0.6:
            grey = float(self._random.choice([34.0, 62.0, 120.0, 176.0, 220.0, 228.0]))
            return grey, grey + float(self._random.uniform(-3, 3)), grey + float(self._random.uniform(-2, 8))
        bright = (
            (168.0, 34.0, 34.0),
            (38.0, 66.0, 138.0),
            (44.0, 104.0, 72.0),
            (196.0, 150.0, 44.0),
            (108.0, 60.0, 40.0),
            (76.0, 120.0, 160.0),
        )
        colour = np.array(bright[int(self._random.integers(len(bright)))]) * self._random.uniform(0.85, 1.15)
        return float(colour[0]), float(colour[1]), float(colour[2])

    def _clothes(self) -> Colour:
        base = self._random.uniform(40, 200)
        tint = self._random.uniform(-45, 45, 3)
        red, green, blue = np.clip(base + tint, 16, 235)
        return float(red), float(green), float(blue)


def _whole(size: tuple[float, float, float]) -> tuple[float, ...]:
    return 0.0, 0.0, size[2] / 2, size[1], size[0], size[2]


def _inset(boxes: Sequence[tuple[float, ...]]) -> Array:
    """The boxes (K, 6), 3 cm smaller all round: measured points then lie inside the annotated box for certain."""
    solids = np.array(boxes, dtype=np.float64)
    solids[:, 3:] = np.maximum(solids[:, 3:] - 0.06, 0.04)
    return solids
