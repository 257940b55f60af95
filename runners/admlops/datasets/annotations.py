"""Annotated objects of many samples as arrays: the form in which evaluation asks a data set for them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampleScene:
    """The scene of a sample: `description` is the annotators' remark, `location` the map."""

    name: str
    description: str
    location: str


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """S samples and their N annotated objects, in the global frame. Rows are in sample order, then table order.

    Attributes:
        samples: (S) tokens, as asked for.
        scenes: (S) the scene of each.
        ego: (S, 3) position of the ego vehicle [m]: the ego pose at the key frame's LiDAR time.
        ego_rotation: (S, 4) quaternion w x y z from the ego frame to the global frame.
        lidar: (S, 3) position of the LiDAR in the ego frame [m].
        lidar_rotation: (S, 4) quaternion w x y z from the LiDAR's frame to the ego frame.
        next_sample: (S,) index of the scene's next sample, -1 where it is not among these.
        tokens: (N) annotation tokens.
        sample: (N,) index into `samples`.
        category: (N) full category name, such as `vehicle.car`.
        attribute: (N) attribute name, empty for none.
        center, size: (N, 3) [m]; size is width, length, height.
        rotation: (N, 4) quaternion w x y z.
        velocity: (N, 2) [m/s], NaN where unknown.
        points: (N,) LiDAR and radar points in the box.
        visibility: (N,) level 1 to 4, 0 where none is stated.
        next_row: (N,) row of the same object's next annotation, -1 where it is not among these.
    """

    samples: Sequence[str]
    scenes: Sequence[SampleScene]
    ego: Floats
    ego_rotation: Floats
    lidar: Floats
    lidar_rotation: Floats
    next_sample: NDArray[np.int32]
    tokens: Sequence[str]
    sample: NDArray[np.int32]
    category: Sequence[str]
    attribute: Sequence[str]
    center: Floats
    size: Floats
    rotation: Floats
    velocity: Floats
    points: NDArray[np.int32]
    visibility: NDArray[np.int8]
    next_row: NDArray[np.int32]

    def first(self, count: int) -> Annotations:
        """The first `count` samples and what is annotated in them."""
        rows = int(np.searchsorted(self.sample, count))
        own = {field.name: getattr(self, field.name) for field in fields(self)}
        own = {name: values[: count if name in OF_SAMPLES else rows] for name, values in own.items()}
        own["next_sample"] = np.where(own["next_sample"] < count, own["next_sample"], -1)
        own["next_row"] = np.where(own["next_row"] < rows, own["next_row"], -1)
        return Annotations(**own)


OF_SAMPLES = frozenset({"samples", "scenes", "ego", "ego_rotation", "lidar", "lidar_rotation", "next_sample"})
