"""Boxes of many samples as arrays, in the global frame: what the detection protocols compute with.

One row is one box. Rows are ordered by sample, and within a sample as they were given (predictions: the record; ground
truth: the annotation table). That order decides ties, so nothing here changes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from admlops.core import nuscenes_classes
from admlops.core.nuscenes_classes import CLASSES

ATTRIBUTES = ("", *nuscenes_classes.ATTRIBUTES)
"""The attributes of nuScenes; the first stands for none."""

CLASS_INDEX = {name: index for index, name in enumerate(CLASSES)}
ATTRIBUTE_INDEX = {name: index for index, name in enumerate(ATTRIBUTES)}

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """N boxes.

    Attributes:
        sample: (N,) index of the sample, never falling.
        label: (N,) index into CLASSES.
        center: (N, 3) geometric centre [m], global frame.
        size: (N, 3) width, length, height [m].
        yaw: (N,) direction of the length in the ground plane [rad], global frame.
        velocity: (N, 2) [m/s], global frame; NaN where unknown.
        attribute: (N,) index into ATTRIBUTES.
        score: (N,) confidence; 0 for ground truth.
        number: (N,) a prediction's id in its record, a ground truth's row in `GroundTruth.tokens`.
    """

    sample: NDArray[np.int32]
    label: NDArray[np.int8]
    center: Floats
    size: Floats
    yaw: Floats
    velocity: Floats
    attribute: NDArray[np.int8]
    score: Floats
    number: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.sample)

    def take(self, chosen: Mask | Integers) -> Boxes:
        """The chosen rows, by mask or by index."""
        return Boxes(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})


@dataclass(frozen=True, kw_only=True)
class Racks:
    """Bicycle racks: cycles inside them are not evaluated.

    Attributes:
        sample: (R,) index of the sample.
        center, size: (R, 3) as in `Boxes`.
        rotation: (R, 3, 3) from the rack's frame to the global frame.
    """

    sample: NDArray[np.int32]
    center: Floats
    size: Floats
    rotation: Floats


@dataclass(frozen=True, kw_only=True)
class GroundTruth:
    """The annotations of the evaluated samples.

    Attributes:
        samples: the sample tokens; `Boxes.sample` counts in them.
        ego: (S, 3) position of the ego vehicle [m], global frame (ego pose of LIDAR_TOP).
        rotation: (S, 4) unit quaternion w x y z from the ego frame to the global frame.
        boxes: the annotated boxes of the detection classes.
        points: (N,) LiDAR and radar points in each box.
        visibility: (N,) visibility level 1 to 4 (0-40, 40-60, 60-80, 80-100 %), 0 where the table states none.
        tokens: annotation token of each box, by `boxes.number`.
        racks: the bicycle racks.
    """

    samples: Sequence[str]
    ego: Floats
    rotation: Floats
    boxes: Boxes
    points: NDArray[np.int32]
    visibility: NDArray[np.int8]
    tokens: Sequence[str]
    racks: Racks

    def take(self, chosen: Mask) -> GroundTruth:
        """The same samples with the chosen boxes alone."""
        return GroundTruth(
            samples=self.samples,
            ego=self.ego,
            rotation=self.rotation,
            boxes=self.boxes.take(chosen),
            points=self.points[chosen],
            visibility=self.visibility[chosen],
            tokens=self.tokens,
            racks=self.racks,
        )


def join(parts: Sequence[Boxes]) -> Boxes:
    """The rows of all `parts`, one after the other."""
    if not parts:
        return empty_boxes()
    return Boxes(**{f.name: np.concatenate([getattr(part, f.name) for part in parts]) for f in fields(Boxes)})


def empty_boxes() -> Boxes:
    """No boxes."""
    return Boxes(
        sample=np.zeros(0, np.int32),
        label=np.zeros(0, np.int8),
        center=np.zeros((0, 3)),
        size=np.zeros((0, 3)),
        yaw=np.zeros(0),
        velocity=np.zeros((0, 2)),
        attribute=np.zeros(0, np.int8),
        score=np.zeros(0),
        number=np.zeros(0, np.int32),
    )


def yaws(quaternions: Floats) -> Floats:
    """The heading [rad] of the x axis turned by quaternions w x y z, (N, 4), of any length but zero."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    heading: Floats = np.arctan2(2 * (x * y + z * w), 1 - 2 * (y * y + z * z))
    return heading


def rotations(quaternions: Floats) -> Floats:
    """The rotation matrices, (N, 3, 3), of quaternions w x y z, (N, 4)."""
    w, x, y, z = (quaternions / np.linalg.norm(quaternions, axis=1, keepdims=True)).T
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.moveaxis(np.array(rows), -1, 0)


def multiply(a: Floats, b: Floats) -> Floats:
    """The Hamilton products a · b of quaternions w x y z, (N, 4) each: rotate by b, then by a."""
    aw, ax, ay, az = a.T
    bw, bx, by, bz = b.T
    return np.stack(
        [
            aw * bw - ax * bx - ay * by - az * bz,
            aw * bx + ax * bw + ay * bz - az * by,
            aw * by - ax * bz + ay * bw + az * bx,
            aw * bz + ax * by - ay * bx + az * bw,
        ],
        axis=1,
    )
