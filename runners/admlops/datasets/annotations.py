"""What is annotated: an object, a lane graph, a picture; and the objects of many samples as arrays for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class GroundTruthBox:
    """One annotated object, in the key frame's ego frame: metres, m/s (None where unknown), quaternion w x y z."""

    token: str
    class_name: str
    center: tuple[float, float, float]
    size_wlh: tuple[float, float, float]
    rotation_wxyz: tuple[float, float, float, float]
    velocity: tuple[float, float] | None
    num_lidar_pts: int
    num_radar_pts: int
    visibility: str
    attribute: str


@dataclass(frozen=True, kw_only=True)
class LaneAnnotation:
    """The ground truth of one frame, in the frame's ego frame.

    `lanes` are centrelines in driving direction, (N, 3) [m] each. `elements` (E, 4) are x1, y1, x2, y2 [pixels of the
    front image], `attributes` (E,) their numbers. `lane_to_lane` (L, L) is 1 where the row's lane runs into the
    column's, `lane_to_traffic` (L, E) where the element governs the lane.
    """

    lanes: tuple[NDArray[np.float32], ...]
    elements: NDArray[np.float32]
    attributes: NDArray[np.int64]
    lane_to_lane: NDArray[np.int8]
    lane_to_traffic: NDArray[np.int8]


@dataclass(frozen=True, kw_only=True)
class ImageAnnotation:
    """The annotated objects of one picture.

    Attributes:
        boxes: (N, 4) x1, y1, x2, y2 [pixels of the original picture, turned upright]; x2 and y2 are exclusive.
        classes: (N,) names; that of a region which holds for every class, as KITTI's DontCare, is `ANY_CLASS`.
        ignore: (N,) where a box is a region in which nothing counts as found or as missed: COCO's crowds, DontCare.
        areas: (N,) [pixels²] of an object's outline where the data set has one, else of its box.
    """

    boxes: NDArray[np.float64]
    classes: tuple[str, ...]
    ignore: NDArray[np.bool_]
    areas: NDArray[np.float64]


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
