"""Poses as 4 x 4 matrices, and points of the LiDAR's plane in the ego frame.

A pose is the form that samples hold: `translation` [m] and `rotation_wxyz`, the unit quaternion that turns the inner
frame's axes into the outer frame's.
"""

import math
from typing import Any, Mapping, Sequence

import numpy as np

Pose = Mapping[str, Any]


def rotation_matrix(rotation_wxyz: Sequence[float]) -> "np.ndarray":
    """The 3 x 3 matrix of a quaternion w, x, y, z, which is normalised first."""
    w, x, y, z = np.asarray(rotation_wxyz, dtype=np.float64) / np.linalg.norm(rotation_wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
            [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
            [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
        ]
    )


def pose_matrix(pose: Pose) -> "np.ndarray":
    """The 4 x 4 matrix that takes points of the inner frame to the outer one."""
    matrix = np.eye(4)
    matrix[:3, :3] = rotation_matrix(pose["rotation_wxyz"])
    matrix[:3, 3] = pose["translation"]
    return matrix


def inverse_pose_matrix(pose: Pose) -> "np.ndarray":
    """The inverse of `pose_matrix`, by transposition: exact where a general inverse would lose digits."""
    rotation = rotation_matrix(pose["rotation_wxyz"])
    matrix = np.eye(4)
    matrix[:3, :3] = rotation.T
    matrix[:3, 3] = -rotation.T @ np.asarray(pose["translation"], dtype=np.float64)
    return matrix


def sensor_to_lidar(sensor: Mapping[str, Any], lidar: Mapping[str, Any]) -> "np.ndarray":
    """The 4 x 4 matrix from a sensor, at its own time, to the key frame's LiDAR, through the global frame."""
    to_global = pose_matrix(sensor["ego2global"]) @ pose_matrix(sensor["sensor2ego"])
    to_lidar = inverse_pose_matrix(lidar["sensor2ego"]) @ inverse_pose_matrix(lidar["ego2global"])
    return np.asarray(to_lidar @ to_global)


def yaw_of(rotation: "np.ndarray") -> float:
    """The angle about z of a 3 x 3 rotation [rad]: where its x axis points, seen from above."""
    return math.atan2(rotation[1, 0], rotation[0, 0])


def lidar_plane_to_ego(points: "np.ndarray", sample: Mapping[str, Any]) -> "np.ndarray":
    """Points (…, 2) [m] of the key frame's LiDAR frame, seen from above, in the ego frame of the sample.

    A rigid motion in the ground plane between the two frames' origins and headings in the global frame: map models
    answer in the plane, and their ground truth is cut in the plane.
    """
    lidar, ego = sample["lidar"], sample["ego2global"]
    to_global = pose_matrix(lidar["ego2global"]) @ pose_matrix(lidar["sensor2ego"])
    ego_to_global = pose_matrix(ego)
    origin = _turn(to_global[:2, 3] - ego_to_global[:2, 3], -yaw_of(ego_to_global[:3, :3]))
    turned = _turn(points, yaw_of(to_global[:3, :3]) - yaw_of(ego_to_global[:3, :3]))
    return np.asarray(turned + origin)


def _turn(points: "np.ndarray", angle: float) -> "np.ndarray":
    """Points (…, 2) turned about the origin by `angle` [rad], counter-clockwise."""
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.asarray(np.asarray(points, dtype=np.float64) @ np.array([[cosine, sine], [-sine, cosine]]))
