"""From the ego frame to a camera's pixels, and clipping of what lies behind the camera.

Frames: ego (x forward, y left, z up, metres) at the key frame's LiDAR time; camera (x right, y down, z forward).
Poses are `{"translation": [x, y, z], "rotation_wxyz": [w, x, y, z]}`, mapping the inner frame to the outer one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.tables import rotation_matrix

Points = NDArray[np.float64]

NEAR_M = 0.5
"""What is nearer to the camera plane than this is cut away: its projection would fill or leave the picture."""

BOX_EDGES = ((0, 1), (1, 2), (2, 3), (3, 0), (4, 5), (5, 6), (6, 7), (7, 4), (0, 4), (1, 5), (2, 6), (3, 7))
"""Pairs of corners of `box_corners`: bottom face, top face, uprights. Edge (0, 1) is the bottom of the front."""


def box_corners(center: Iterable[float], size_wlh: Iterable[float], rotation_wxyz: Iterable[float]) -> Points:
    """The corners of a box, (8, 3): front left, front right, back right, back left at the bottom, then at the top.

    The length lies along the box's x axis, the width along y, the height along z; `center` is the geometric centre.
    """
    width, length, height = size_wlh
    x = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * length / 2
    y = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * width / 2
    z = np.array([-1, -1, -1, -1, 1, 1, 1, 1]) * height / 2
    corners: Points = np.stack([x, y, z], axis=1) @ rotation_matrix(rotation_wxyz).T + np.asarray(tuple(center))
    return corners


def to_camera(points: ArrayLike, *, ego2global: Mapping[str, Any], camera: Mapping[str, Any]) -> Points:
    """Points (N, 3) of the key frame's ego frame in the frame of `camera`, by way of the ego pose when it fired.

    Raises:
        DataError: a pose holds a rotation of length zero.
    """
    in_global = _forward(np.asarray(points, dtype=np.float64), ego2global)
    return _backward(_backward(in_global, camera["ego2global"]), camera["sensor2ego"])


def project(points_in_camera: Points, intrinsic: ArrayLike) -> Points:
    """Pixels (N, 2) of points (N, 3) in front of the camera: the pinhole model, u = fx · x / z + cx.

    Raises:
        DataError: the focal length is zero.
    """
    matrix = np.asarray(intrinsic, dtype=np.float64)
    if matrix.shape != (3, 3) or not np.isfinite(matrix).all() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0:
        raise _bad_calibration("an intrinsic matrix without a focal length")
    homogeneous = points_in_camera @ matrix.T
    pixels: Points = homogeneous[:, :2] / homogeneous[:, 2:3]
    return pixels


def projection_matrix(*, ego2global: Mapping[str, Any], camera: Mapping[str, Any]) -> Points:
    """The matrix (3, 4) that takes (x, y, z, 1) of the key frame's ego frame [m] to (u·d, v·d, d): d is the depth.

    Raises:
        DataError: a pose or the intrinsic matrix is unusable.
    """
    axes = np.vstack([np.zeros((1, 3)), np.eye(3)])
    inside = to_camera(axes, ego2global=ego2global, camera=camera)
    project(np.array([[0.0, 0.0, 1.0]]), camera["intrinsic"])  # refuses an intrinsic matrix without a focal length
    rigid = np.column_stack([(inside[1:] - inside[0]).T, inside[0]])
    matrix: Points = np.asarray(camera["intrinsic"], dtype=np.float64) @ rigid
    return matrix


def clip_segment(start: Points, end: Points, *, near_m: float = NEAR_M) -> tuple[Points, Points] | None:
    """The part of a segment in the camera frame that is at least `near_m` in front of the camera, or None."""
    if start[2] < near_m and end[2] < near_m:
        return None
    if start[2] >= near_m and end[2] >= near_m:
        return start, end
    cut = start + (near_m - start[2]) / (end[2] - start[2]) * (end - start)
    return (cut, end) if start[2] < near_m else (start, cut)


def clip_polyline(points: Points, *, near_m: float = NEAR_M) -> list[Points]:
    """The pieces (M, 3) of a polyline in the camera frame that are at least `near_m` in front of the camera."""
    pieces: list[list[Points]] = []
    for start, end in pairwise(points):
        kept = clip_segment(start, end, near_m=near_m)
        if kept is None:
            continue
        if pieces and np.array_equal(pieces[-1][-1], kept[0]):
            pieces[-1].append(kept[1])
        else:
            pieces.append([kept[0], kept[1]])
    return [np.stack(piece) for piece in pieces]


def on_picture(pixels: Points, *, width: float, height: float) -> bool:
    """Tell whether the bounding rectangle of some pixels (N, 2) overlaps a picture of that size."""
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    return bool(high[0] > 0 and high[1] > 0 and low[0] < width and low[1] < height)


def _rotation(pose: Mapping[str, Any]) -> Points:
    quaternion = np.asarray(pose["rotation_wxyz"], dtype=np.float64)
    if quaternion.shape != (4,) or not np.isfinite(quaternion).all() or np.linalg.norm(quaternion) < 1e-6:
        raise _bad_calibration("a rotation of length zero")
    return rotation_matrix(quaternion)


def _forward(points: Points, pose: Mapping[str, Any]) -> Points:
    moved: Points = points @ _rotation(pose).T + np.asarray(pose["translation"], dtype=np.float64)
    return moved


def _backward(points: Points, pose: Mapping[str, Any]) -> Points:
    moved: Points = (points - np.asarray(pose["translation"], dtype=np.float64)) @ _rotation(pose)
    return moved


def _bad_calibration(what: str) -> DataError:
    return DataError(
        f"the calibration holds {what}",
        hint="check calibrated_sensor.json and ego_pose.json of the data set, or unpack it again",
    )
