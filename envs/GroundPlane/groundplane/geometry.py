"""Cameras and the ground plane: pixels to metres and back.

Frame: the ego vehicle at the key frame (x forward, y left, z up, metres); the ground is its plane z = 0. Pixels count
from the centre of the top left pixel, u to the right and v down.
"""

from typing import Any, Dict, List, NamedTuple, Tuple

import numpy as np

MIN_DEPTH_M = 0.3  # nearer than this a point is on or behind the lens


class Camera(NamedTuple):
    """A pinhole camera in the key frame's ego frame.

    `intrinsic` is 3x3 [pixels]; `rotation` 3x3 turns camera coordinates (x right, y down, z forward) into ego
    coordinates; `position` is the optical centre [m]; `size` is (width, height) [pixels].
    """

    name: str
    intrinsic: np.ndarray
    rotation: np.ndarray
    position: np.ndarray
    size: Tuple[int, int]

    def scaled(self, width: int, height: int) -> "Camera":
        """The same camera with its image resized to width x height (pixel centres stay centres)."""
        ratio = np.array([width / self.size[0], height / self.size[1]])
        intrinsic = self.intrinsic.copy()
        intrinsic[:2] *= ratio[:, None]
        intrinsic[:2, 2] += (ratio - 1.0) / 2.0
        return self._replace(intrinsic=intrinsic, size=(width, height))

    @property
    def ground_to_pixel(self) -> np.ndarray:
        """3x3 homography from (x, y, 1) on the ground to homogeneous pixels; its last row gives the depth [m]."""
        inverse = self.rotation.T
        columns = np.column_stack([inverse[:, 0], inverse[:, 1], -inverse @ self.position])
        return np.asarray(self.intrinsic @ columns)


def rotation_from_quaternion(wxyz: List[float]) -> np.ndarray:
    """3x3 rotation of a quaternion (w, x, y, z); it need not be of unit length, but not zero (ValueError)."""
    norm = float(np.linalg.norm(wxyz))
    if not np.isfinite(norm) or norm < 1e-9:
        raise ValueError(f"a rotation of length {norm}")
    w, x, y, z = (float(value) / norm for value in wxyz)
    return np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )


def read_camera(name: str, calibration: Dict[str, Any], ego2global: Dict[str, Any]) -> Camera:
    """The camera of one entry of `sample["cameras"]`, moved from its own ego pose into the key frame's.

    Raises:
        ValueError: the intrinsic matrix is singular or a pose is not one; the message names the camera.
    """
    try:
        intrinsic = _intrinsic(calibration["intrinsic"])
        sensor_rotation, sensor_translation = _pose(calibration["sensor2ego"])
        own_rotation, own_translation = _pose(calibration["ego2global"])
        key_rotation, key_translation = _pose(ego2global)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"calibration of {name}: {error}") from error
    between = key_rotation.T @ own_rotation
    position = between @ sensor_translation + key_rotation.T @ (own_translation - key_translation)
    size = (int(calibration["width"]), int(calibration["height"]))
    return Camera(name, intrinsic, between @ sensor_rotation, position, size)


def project(camera: Camera, points: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Pixels (..., 2) and depths (...) [m] of points (..., 3) in the ego frame; pixels of depth <= 0 mean nothing."""
    local = (points - camera.position) @ camera.rotation
    depth = local[..., 2]
    homogeneous = local @ camera.intrinsic.T
    safe = np.where(np.abs(depth) < 1e-6, 1e-6, depth)
    return homogeneous[..., :2] / safe[..., None], depth


def ground_points(camera: Camera, pixels: np.ndarray) -> np.ndarray:
    """Where the rays through pixels (..., 2) meet the ground: (..., 2) [m], NaN for rays that never do."""
    ones = np.ones((*pixels.shape[:-1], 1))
    rays = np.concatenate([pixels, ones], axis=-1) @ (camera.rotation @ np.linalg.inv(camera.intrinsic)).T
    down = np.where(rays[..., 2] < -1e-9, rays[..., 2], np.nan)
    reach = -camera.position[2] / down
    return np.asarray(camera.position[:2] + rays[..., :2] * reach[..., None])


def horizon_rows(camera: Camera) -> np.ndarray:
    """The row of the horizon in each pixel column (width,); everything on the ground is below it."""
    to_pixel = np.linalg.inv(camera.ground_to_pixel)
    line = to_pixel[2]  # pixels whose ground point is at infinity
    columns = np.arange(camera.size[0])
    slope = line[1] if abs(line[1]) > 1e-12 else 1e-12
    return np.asarray(-(line[0] * columns + line[2]) / slope)


def _intrinsic(rows: List[List[float]]) -> np.ndarray:
    intrinsic = np.array(rows, dtype=float)
    if intrinsic.shape != (3, 3) or not np.isfinite(intrinsic).all():
        raise ValueError("the intrinsic matrix is not 3x3 finite numbers")
    if intrinsic[0, 0] <= 0 or intrinsic[1, 1] <= 0 or abs(np.linalg.det(intrinsic)) < 1e-6:
        raise ValueError("the intrinsic matrix is singular")
    return intrinsic


def _pose(pose: Dict[str, Any]) -> Tuple[np.ndarray, np.ndarray]:
    """(rotation 3x3, translation 3) of {"translation", "rotation_wxyz"}."""
    translation = np.array(pose["translation"], dtype=float)
    if translation.shape != (3,) or not np.isfinite(translation).all():
        raise ValueError("a translation that is not three finite numbers")
    return rotation_from_quaternion(pose["rotation_wxyz"]), translation
