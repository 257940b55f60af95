"""Faults of the LiDAR: fewer points, or fewer beams.

A sweep is nuScenes' file: five float32 a point, x, y, z, intensity and ring. The shares are MultiCorrupt's idea (arXiv
2402.11677) with numbers of our own.
"""

from typing import Any

from ..mmlab.common.libraries import load_library
from .fault import Fault

LOST = (0.5, 0.7, 0.9)
KEEPS_EVERY = (2, 4, 8)
VALUES = 5


def corrupt_sweep(content: bytes, fault: Fault, *, sweep: str) -> bytes:
    """Return the sweep's file with the fault: points lost at random, or all beams but each second, fourth, eighth.

    Raises:
        ValueError: the file is no whole number of points.
    """
    np: Any = load_library("numpy")
    points = np.frombuffer(content, dtype="<f4").reshape(-1, VALUES)
    if fault.name == "lidar-points":
        generator = np.random.default_rng(fault.seeds(sweep, "lidar"))
        kept = generator.random(len(points)) >= LOST[fault.level - 1]
    else:
        kept = points[:, 4].astype(int) % KEEPS_EVERY[fault.level - 1] == 0
    return bytes(points[kept].tobytes())
