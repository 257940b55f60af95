"""How things move: along a course with a speed profile that slows for bends, or not at all."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from admlops.synthetic.course import Course

Array = NDArray[np.float64]

COMFORT = 1.8  # lateral acceleration in bends [m/s²]
BRAKING = 1.5  # longitudinal acceleration and braking [m/s²]


class Motion(Protocol):
    """Where something is at time t [s] of its scene."""

    def pose(self, time: float) -> Array:
        """x [m], y [m], heading [rad] (3,)."""

    def speed(self, time: float) -> float:
        """Speed along the heading [m/s]."""


@dataclass(frozen=True)
class Parked:
    """Never moves."""

    x: float
    y: float
    heading: float

    def pose(self, time: float) -> Array:
        return np.array([self.x, self.y, self.heading])

    def speed(self, time: float) -> float:
        return 0.0


@dataclass(frozen=True)
class Walk:
    """Constant speed along a course, from arc length `start` [m]."""

    course: Course
    start: float
    pace: float

    def pose(self, time: float) -> Array:
        return np.asarray(self.course.poses(self.start + self.pace * time)[0])

    def speed(self, time: float) -> float:
        return self.pace


@dataclass(frozen=True)
class Profile:
    """A speed profile over a course: all vehicles of a lane share it, apart in time, so they never collide."""

    course: Course
    arcs: Array
    times: Array

    def arc(self, time: float) -> float:
        return float(np.interp(time, self.times, self.arcs))

    def time_at(self, arc: float) -> float:
        return float(np.interp(arc, self.arcs, self.times))


@dataclass(frozen=True)
class Drive:
    """Along `profile`, `offset` [s] ahead of its clock and `aside` [m] to the left of its course."""

    profile: Profile
    offset: float
    aside: float = 0.0

    def arc(self, time: float) -> float:
        return self.profile.arc(time + self.offset)

    def pose(self, time: float) -> Array:
        x, y, heading = self.profile.course.poses(self.arc(time))[0]
        return np.array([x - self.aside * np.sin(heading), y + self.aside * np.cos(heading), heading])

    def speed(self, time: float) -> float:
        return (self.arc(time + 0.05) - self.arc(time - 0.05)) / 0.1

    def curvature(self, time: float) -> float:
        return float(self.profile.course.curvatures(self.arc(time))[0])


def make_profile(course: Course, cruise: float, random: np.random.Generator) -> Profile:
    """A profile about `cruise` [m/s] over `course` and 300 m before and after it."""
    arcs = np.arange(-300.0, course.length + 300.0, 0.5)
    wave = 0.12 * np.sin(2 * np.pi * arcs / random.uniform(50, 90) + random.uniform(0, 2 * np.pi))
    limit = np.sqrt(COMFORT / np.maximum(np.abs(course.curvatures(arcs)), 1e-6))
    speed = np.minimum(cruise * (1 + wave), limit)
    step = BRAKING * 2 * 0.5
    for order in (range(1, len(speed)), range(len(speed) - 2, -1, -1)):
        shift = 1 if order.step < 0 else -1
        for i in order:
            speed[i] = min(speed[i], float(np.sqrt(speed[i + shift] ** 2 + step)))
    smooth = np.convolve(np.pad(speed, 8, mode="edge"), np.ones(17) / 17, mode="valid")
    times = np.concatenate([[0.0], np.cumsum(0.5 / ((smooth[1:] + smooth[:-1]) / 2))])
    return Profile(course, arcs, times)
