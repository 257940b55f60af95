"""The light of a scene: where the sun stands and what colours it and the sky give to surfaces."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Light:
    """Colours are RGB factors (sun, ambient) or RGB in 0..255 (sky, haze); angles in radians, azimuth from x."""

    azimuth: float
    elevation: float
    sun: tuple[float, float, float]
    ambient: tuple[float, float, float]
    zenith: tuple[float, float, float]
    horizon: tuple[float, float, float]
    cloud: tuple[float, float, float]
    cloud_cover: float
    shadow: float  # darkness of cast shadows, 0..1
    noise: float  # standard deviation of image noise, grey levels
    lamps: bool

    @property
    def direction(self) -> Array:
        """Unit vector (3,) towards the sun."""
        flat = np.cos(self.elevation)
        return np.array([flat * np.cos(self.azimuth), flat * np.sin(self.azimuth), np.sin(self.elevation)])

    def on(self, normals: Array) -> Array:
        """Factors (N, 3) by which surfaces with unit normals (N, 3) reflect their colour."""
        sunlit = np.clip(normals @ self.direction, 0.0, None)[:, None]
        open_sky = (0.72 + 0.28 * normals[:, 2])[:, None]
        return np.asarray(sunlit * np.array(self.sun) + open_sky * np.array(self.ambient))


def choose_light(index: int, random: np.random.Generator) -> Light:
    """The light of the `index`-th scene: every second is dusk or overcast, the others sunny."""
    azimuth = float(random.uniform(-np.pi, np.pi))
    if index % 4 == 1:
        return _dusk(azimuth, random)
    if index % 4 == 3:
        return _overcast(azimuth, random)
    elevation = float(random.uniform(0.75, 1.1))
    sun, ambient = (0.66, 0.61, 0.52), (0.54, 0.57, 0.62)
    sky = (86.0, 132.0, 188.0), (196.0, 210.0, 222.0), (240.0, 240.0, 240.0)
    return Light(azimuth, elevation, sun, ambient, *sky, float(random.uniform(0.35, 0.6)), 0.42, 2.2, False)


def _dusk(azimuth: float, random: np.random.Generator) -> Light:
    sun, ambient = (0.24, 0.17, 0.12), (0.42, 0.42, 0.50)
    sky = (46.0, 58.0, 98.0), (196.0, 148.0, 116.0), (150.0, 118.0, 120.0)
    return Light(azimuth, 0.30, sun, ambient, *sky, float(random.uniform(0.3, 0.5)), 0.16, 3.4, True)


def _overcast(azimuth: float, random: np.random.Generator) -> Light:
    sun, ambient = (0.16, 0.16, 0.16), (0.72, 0.74, 0.78)
    sky = (150.0, 158.0, 168.0), (200.0, 204.0, 208.0), (214.0, 216.0, 220.0)
    return Light(azimuth, 0.9, sun, ambient, *sky, float(random.uniform(0.7, 0.9)), 0.14, 2.6, False)
