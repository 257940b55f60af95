"""The made-up data of `fabricate`, with a LiDAR: rings on the road, and the sides of the three cars."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.reports.fabricate import FakeData, make_data

from admlops.datasets.nuscenes.tables import rotation_matrix

CARS = ((14.0, 0.5), (26.0, 4.0), (-12.0, -4.0))
INTENSITY = {"road": 30.0, "car": 60.0}


@dataclass(frozen=True)
class LidarData(FakeData):
    """Every sample has the same sweep."""

    def sample(self, token: str) -> dict[str, Any]:
        sample = super().sample(token)
        return {**sample, "lidar": {**sample["lidar"], "path": str(self.root / "sweep.pcd.bin")}}


def make_lidar_data(root: Path) -> LidarData:
    """Draw pictures and map, and write the sweep in the LiDAR's frame."""
    data = LidarData(make_data(root).root)
    lidar = data.sample("any")["lidar"]
    write_sweep(Path(lidar["path"]), points_in_ego(), lidar["sensor2ego"])
    return data


def points_in_ego() -> NDArray[np.float64]:
    """The points (N, 4): x, y, z [m] in the ego frame, intensity."""
    angles = np.linspace(0, 2 * np.pi, 720, endpoint=False)
    rings = [np.column_stack([r * np.cos(angles), r * np.sin(angles), np.zeros_like(angles)]) for r in range(4, 45, 2)]
    x, z = (grid.ravel() for grid in np.meshgrid(np.linspace(-2.2, 2.2, 40), np.linspace(0.2, 1.6, 15)))
    sides = [np.column_stack([cx + x, np.full_like(x, cy - 0.95), z]) for cx, cy in CARS]
    road, cars = np.concatenate(rings), np.concatenate(sides)
    levels = np.concatenate([np.full(len(road), INTENSITY["road"]), np.full(len(cars), INTENSITY["car"])])
    return np.column_stack([np.concatenate([road, cars]), levels])


def write_sweep(path: Path, points: NDArray[np.float64], sensor2ego: dict[str, Any]) -> None:
    """Write points (N, 4) of the ego frame as a sweep of a LiDAR that is mounted at `sensor2ego`."""
    turned = points[:, :3] - np.asarray(sensor2ego["translation"])
    local = turned @ rotation_matrix(sensor2ego["rotation_wxyz"])
    np.column_stack([local, points[:, 3], np.zeros(len(points))]).astype("<f4").tofile(path)
