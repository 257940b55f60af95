"""LiDAR sweeps as nuScenes stores them: `.pcd.bin`, five float32 a point: x, y, z [m], intensity (0 to 255), ring.

Despite its name the format has no header, and is not the Point Cloud Library's.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.lidar_files import POINT_BYTES, VALUES
from admlops.datasets.nuscenes.tables import rotation_matrix

SUFFIX = ".bin"


def read_sweep(path: Path) -> NDArray[np.float32]:
    """The points of a sweep, (N, 5): x, y, z in the LiDAR's frame [m], intensity (0 to 255), ring (0 is the lowest).

    A point with a value that is not finite is left out.

    Raises:
        DataError: the file is missing, unreadable, empty, cut off, or of another format by its name.
    """
    if path.suffix != SUFFIX:
        raise DataError(f"the sweep {path} is not a {SUFFIX} file as nuScenes has them", hint="pass a nuScenes root")
    try:
        content = path.read_bytes()
    except OSError as error:
        reason = "is missing" if isinstance(error, FileNotFoundError) else f"cannot be read: {error.strerror}"
        raise DataError(f"the sweep {path} {reason}", hint="unpack the LiDAR sweeps again") from error
    if not content or len(content) % POINT_BYTES:
        raise DataError(
            f"the sweep {path} has {len(content)} bytes, which is not a whole number of points of {POINT_BYTES}",
            hint="unpack the LiDAR sweeps again",
        )
    points = np.frombuffer(content, dtype="<f4").reshape(-1, VALUES)
    finite: NDArray[np.float32] = points[np.isfinite(points).all(axis=1)]
    return finite


def sweep_in_ego(lidar: Mapping[str, Any]) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """The points (N, 3) [m] of a sample's `lidar` in its ego frame, and their intensities (N,), 0 to 255.

    Raises:
        DataError: as `read_sweep`, or the LiDAR's rotation has length zero.
    """
    sweep = read_sweep(Path(lidar["path"]))
    mounted = lidar["sensor2ego"]
    if not np.linalg.norm(mounted["rotation_wxyz"]) > 0:
        raise DataError(
            "the calibration of the LiDAR holds a rotation of length zero",
            hint="check calibrated_sensor.json of the data set, or unpack it again",
        )
    turned = sweep[:, :3].astype(np.float64) @ rotation_matrix(mounted["rotation_wxyz"]).T
    return turned + np.asarray(mounted["translation"], dtype=np.float64), sweep[:, 3]
