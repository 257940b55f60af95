"""LiDAR points: read from a file of float32 numbers, turned to the sensor's frame, written as nuScenes has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from admlops.conversion.frames import SensorFile
from admlops.core.errors import DataError

NUSCENES_COLUMNS = 5
"""x, y, z [m], intensity, ring."""


def read_points(file: SensorFile) -> NDArray[np.float32]:
    """The points (N, columns) of a file, in its sensor's frame.

    Raises:
        DataError: it is not there, or not whole.
    """
    try:
        values = np.fromfile(file.path, dtype="<f4")
    except OSError as error:
        raise DataError(f"{file.path} cannot be read: {error.strerror}", hint=f"ls -l {file.path}") from error
    if len(values) % file.columns:
        raise DataError(
            f"{file.path} holds {len(values)} numbers, which are no points of {file.columns}",
            hint="say how many numbers a point has: `columns` of the TOML",
        )
    points = values.reshape(-1, file.columns)
    if file.points_pose is not None:
        matrix = file.points_pose.matrix
        points = points.copy()
        points[:, :3] = points[:, :3].astype(np.float64) @ matrix[:3, :3].T + matrix[:3, 3]
    return points


def write_points(file: SensorFile, path: Path) -> None:
    """Write a file's points in its sensor's frame, five numbers each; those that it lacks are 0."""
    points = read_points(file)
    full = np.zeros((len(points), NUSCENES_COLUMNS), "<f4")
    shared = min(points.shape[1], NUSCENES_COLUMNS)
    full[:, :shared] = points[:, :shared]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(full.tobytes())
