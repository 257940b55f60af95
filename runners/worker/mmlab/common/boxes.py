"""Boxes of mmdet3d's networks as standard records.

A network's box is a row of nine numbers in the key frame's LiDAR frame [m, rad, m/s]: x, y, z of the centre of its
bottom, three extents, yaw, and the velocity x, y over ground. What the second and third group mean changed between
mmdet3d's versions, and nothing in the numbers says which is meant:

    mmdet3d_0.17    width, length, height; yaw clockwise, and zero where the length points along -y
    mmdet3d_1.0     length, width, height; yaw counter-clockwise, and zero where the length points along x

Source: `output_to_nusc_box` in mmdet3d/datasets/nuscenes_dataset.py of 0.17.2 and of 1.0.0rc6.
"""

import math
from typing import Any, Dict, List, Mapping, Sequence

import numpy as np

from .geometry import rotation_matrix

MMDET3D_017 = "mmdet3d_0.17"
MMDET3D_1 = "mmdet3d_1.0"
"""The names that the catalogue's `box_convention` has for the two."""
COLUMNS = 9


def detection_records(
    decoded: Mapping[str, Any], classes: Sequence[str], sample: Mapping[str, Any], convention: str
) -> List[Dict[str, Any]]:
    """Standard records of what a network decodes, in its order.

    Args:
        decoded: `boxes_3d` (n, 9) as described above, `scores_3d` (n,) and `labels_3d` (n,): arrays, tensors on the
            CPU, or for the boxes mmdet3d's own class.
        classes: the names of the labels.
        sample: the sample, for the LiDAR's place in the ego frame, and the ego vehicle's in the global frame.
        convention: MMDET3D_017 or MMDET3D_1.

    Raises:
        ValueError: an unknown convention, another number of columns, or a number that is not finite.
    """
    boxes = decoded["boxes_3d"]
    rows = np.asarray(getattr(boxes, "tensor", boxes), dtype=np.float64)
    geometry = standard_boxes(rows, sample, convention)
    scores = np.asarray(decoded["scores_3d"], dtype=np.float64).tolist()
    labels = np.asarray(decoded["labels_3d"], dtype=np.int64).tolist()
    return [
        {"id": index, "class_name": classes[label], "confidence": score, "bbox_3d": box}
        for index, (box, score, label) in enumerate(zip(geometry, scores, labels))
    ]


def standard_boxes(rows: "np.ndarray", sample: Mapping[str, Any], convention: str) -> List[Dict[str, Any]]:
    """The `bbox_3d` of records, in the ego frame, for rows in the LiDAR frame. Raises as `detection_records`."""
    if rows.ndim != 2 or rows.shape[1] != COLUMNS:
        raise ValueError("boxes have the shape {}, not (n, {})".format(rows.shape, COLUMNS))
    if not np.isfinite(rows).all():
        raise ValueError("box {} is not finite".format(int(np.flatnonzero(~np.isfinite(rows).all(axis=1))[0])))
    mounting = sample["lidar"]["sensor2ego"]
    turn = rotation_matrix(mounting["rotation_wxyz"])
    centers = geometric_centers(rows) @ turn.T + mounting["translation"]
    sizes = sizes_wlh(rows, convention)
    rotations = turn_yaws(mounting["rotation_wxyz"], standard_yaws(rows, convention))
    velocities = ego_velocities(rows[:, 7:9], turn, rotation_matrix(sample["ego2global"]["rotation_wxyz"]))
    return [
        {"center": center, "size_wlh": size, "rotation_wxyz": rotation, "velocity": velocity}
        for center, size, rotation, velocity in zip(
            centers.tolist(), sizes.tolist(), rotations.tolist(), velocities.tolist()
        )
    ]


def geometric_centers(rows: "np.ndarray") -> "np.ndarray":
    """The centres (n, 3) of boxes whose z is that of their bottom."""
    centers = rows[:, :3].copy()
    centers[:, 2] += 0.5 * rows[:, 5]
    return np.asarray(centers)


def sizes_wlh(rows: "np.ndarray", convention: str) -> "np.ndarray":
    """Width, length, height (n, 3) [m]."""
    return np.asarray(rows[:, {MMDET3D_017: [3, 4, 5], MMDET3D_1: [4, 3, 5]}[_known(convention)]])


def standard_yaws(rows: "np.ndarray", convention: str) -> "np.ndarray":
    """The angle (n,) [rad] from the LiDAR's x axis to the box's length, counter-clockwise seen from above."""
    return np.asarray(-rows[:, 6] - 0.5 * math.pi if _known(convention) == MMDET3D_017 else rows[:, 6])


def ego_velocities(velocities: "np.ndarray", lidar_to_ego: "np.ndarray", ego_to_global: "np.ndarray") -> "np.ndarray":
    """Velocities (n, 2) in the LiDAR's plane as velocities (n, 2) in the ego's, over the same ground.

    Both frames are tilted a little, so a vector that lies in one plane leaves the other. Submissions and evaluations
    know the global ground plane, where the result agrees with mmdet3d's `lidar_nusc_box_to_global`: it turns in space.
    """
    over_ground = velocities @ (ego_to_global @ lidar_to_ego)[:2, :2].T
    return np.asarray(np.linalg.solve(ego_to_global[:2, :2], over_ground.T).T)


def turn_yaws(rotation_wxyz: Sequence[float], yaws: "np.ndarray") -> "np.ndarray":
    """Quaternions (n, 4), w x y z: turned about z by each yaw, then by `rotation_wxyz`, which is normalised first."""
    w, x, y, z = np.asarray(rotation_wxyz, dtype=np.float64) / np.linalg.norm(rotation_wxyz)
    cosine, sine = np.cos(0.5 * yaws), np.sin(0.5 * yaws)
    return np.stack(
        [w * cosine - z * sine, x * cosine + y * sine, y * cosine - x * sine, z * cosine + w * sine], axis=1
    )


def _known(convention: str) -> str:
    if convention not in (MMDET3D_017, MMDET3D_1):
        raise ValueError("{!r} is no box convention: {} or {}".format(convention, MMDET3D_017, MMDET3D_1))
    return convention
