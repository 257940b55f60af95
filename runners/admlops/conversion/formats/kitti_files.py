"""KITTI's files: calibrations and lines of labels.

Frames: the camera's has x right, y down, z ahead; the LiDAR's x ahead, y left, z up. A box stands on its bottom's
centre, and is turned about the camera's y axis alone: `rotation_y` is 0 where its length lies along x.

Source: the object development kit's readme.txt; nuscenes-devkit 1.2, `utils/kitti.py` for the rule `devkit`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from admlops.conversion.geometry import Matrix
from admlops.core.errors import DataError
from admlops.datasets.images.forms.base import read_text

SHAPES: Mapping[str, tuple[int, int]] = {
    **{f"P{number}": (3, 4) for number in range(4)},
    "R0_rect": (3, 3),
    "Tr_velo_to_cam": (3, 4),
    "Tr_imu_to_velo": (3, 4),
}
KITTI_TO_NUSCENES = np.array([[0.0, -1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
"""From KITTI's LiDAR frame (x ahead) to nuScenes' (x right): a turn of 90° about z."""


@dataclass(frozen=True, kw_only=True)
class Label:
    """One line: a box in the picture, and in the camera's frame; `height` and the others are 0 or less for DontCare."""

    kind: str
    truncated: float
    occluded: int
    alpha: float
    bounds: tuple[float, float, float, float]
    size_hwl: tuple[float, float, float]
    bottom: tuple[float, float, float]
    rotation_y: float

    def to_line(self) -> str:
        """Return the line, with six digits behind the point."""
        numbers = (*self.bounds, *self.size_hwl, *self.bottom, self.rotation_y)
        head = f"{self.kind.replace(' ', '_')} {self.truncated:.2f} {self.occluded} {self.alpha:.6f}"
        return f"{head} {' '.join(f'{value:.6f}' for value in numbers)}\n"

    def to_devkit_line(self) -> str:
        """Return the line as nuscenes-devkit writes it: two digits, of the height two in all, and a score of 0."""
        height, *others = self.size_hwl
        numbers = (*others, *self.bottom, self.rotation_y)
        bounds = " ".join(f"{value:.2f}" for value in self.bounds)
        rest = " ".join(f"{value:.2f}" for value in numbers)
        return f"{self.kind} 0.00 0 -10.00 {bounds} {height:.2} {rest} 0.0000\n"


def read_labels(path: Path) -> list[Label]:
    """Return the lines of a file. Raises DataError."""
    labels = []
    for number, line in enumerate(read_text(path).splitlines(), 1):
        fields = line.split()
        if not fields:
            continue
        try:
            labels.append(_read_label(fields))
        except (ValueError, IndexError) as error:
            raise DataError(
                f"{path}, line {number}, is not KITTI's: {error}", hint=f"sed -n {number}p {path}"
            ) from error
    return labels


def _read_label(fields: list[str]) -> Label:
    values = [float(field) for field in fields[1:15]]
    if len(values) < 14 or not all(map(math.isfinite, values)):
        raise ValueError("it has no 14 finite numbers")
    return Label(
        kind=fields[0],
        truncated=values[0],
        occluded=int(values[1]),
        alpha=values[2],
        bounds=(values[3], values[4], values[5], values[6]),
        size_hwl=(values[7], values[8], values[9]),
        bottom=(values[10], values[11], values[12]),
        rotation_y=values[13],
    )


def write_calibration(matrices: Mapping[str, Matrix]) -> str:
    """Return a calibration file's text; what is not given is 0."""
    lines = []
    for name, shape in SHAPES.items():
        values = matrices.get(name, np.zeros(shape)).ravel().tolist()
        lines.append(f"{name}: {' '.join(f'{value:.12e}' for value in values)}\n")
    return "".join(lines)


def read_calibration(path: Path) -> dict[str, Matrix]:
    """Return a file's matrices, those with three rows made (4, 4). Raises DataError."""
    found: dict[str, Matrix] = {}
    for line in read_text(path).splitlines():
        name, _, rest = line.partition(":")
        shape = SHAPES.get(name.strip())
        if shape is None:
            continue
        try:
            values = np.array([float(value) for value in rest.split()]).reshape(shape)
        except ValueError as error:
            raise DataError(
                f"{path}: {name} is no {shape[0]}x{shape[1]} matrix: {error}", hint=f"cat {path}"
            ) from error
        whole = np.eye(4)
        whole[: shape[0], : shape[1]] = values
        found[name.strip()] = whole
    missing = [name for name in ("P2", "Tr_velo_to_cam") if name not in found]
    if missing:
        raise DataError(f"{path} has no {missing[0]}", hint=f"cat {path}")
    found.setdefault("R0_rect", np.eye(4))
    return found


def devkit_bounds(corners: Matrix, intrinsic: Matrix, size: tuple[int, int]) -> tuple[float, ...] | None:
    """The bounds of a box's corners (8, 3) in the picture as nuscenes-devkit cuts them; None where nothing is left.

    It limits y1 by the picture's width, where the height was meant; so does this.
    """
    ahead = corners[corners[:, 2] > 0]
    if not len(ahead):
        return None
    pixels = ahead @ intrinsic.T
    pixels = pixels[:, :2] / pixels[:, 2:]
    x1, y1, x2, y2 = (max(0.0, float(value)) for value in (*pixels.min(axis=0), *pixels.max(axis=0)))
    bounds = (min(size[0], x1), min(size[0], y1), min(size[0], x2), min(size[1], y2))
    return None if bounds[0] >= bounds[2] or bounds[1] >= bounds[3] else bounds
