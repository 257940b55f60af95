"""The sensor rig: six cameras and a LiDAR placed and aimed as on the nuScenes cars, rounded to plain numbers.

Camera axes: x right, y down, z forward. LiDAR axes as in nuScenes: x right, y forward, z up. The ego frame has its
origin on the ground under the rear axle, x forward, y left, z up.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

Array = NDArray[np.float64]

FULL_WIDTH, FULL_HEIGHT = 1600, 900
LIDAR_CHANNEL = "LIDAR_TOP"


@dataclass(frozen=True)
class Sensor:
    """A sensor: pose in the ego frame, and when it fires relative to the LiDAR's sweep [µs]."""

    channel: str
    modality: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]  # w x y z, sensor to ego
    delay_us: int
    intrinsic: tuple[tuple[float, float, float], ...] = ()
    width: int = 0
    height: int = 0

    @property
    def to_ego(self) -> Array:
        """The pose (4, 4) of the sensor in the ego frame."""
        return pose_matrix(self.translation, self.rotation)


# channel: (x, y, z [m]), (yaw, pitch upwards, roll [degrees]), (focal, cx, cy [px] at 1600x900), delay [µs]
_CAMERAS = {
    "CAM_FRONT": ((1.70, 0.02, 1.51), (0.3, -0.3, -0.05), (1266.0, 816.0, 491.0), -35_400),
    "CAM_FRONT_RIGHT": ((1.55, -0.49, 1.50), (-56.4, -0.8, 0.5), (1261.0, 808.0, 495.0), -27_600),
    "CAM_BACK_RIGHT": ((1.01, -0.48, 1.56), (-110.8, -0.9, -0.3), (1259.0, 807.0, 501.0), -20_000),
    "CAM_BACK": ((0.03, 0.00, 1.58), (179.9, 0.9, 0.2), (809.0, 829.0, 482.0), -10_400),
    "CAM_BACK_LEFT": ((1.04, 0.48, 1.59), (108.6, -0.9, 0.2), (1257.0, 792.0, 493.0), -500),
    "CAM_FRONT_LEFT": ((1.52, 0.49, 1.51), (55.2, 0.1, 0.1), (1272.0, 827.0, 480.0), -43_100),
}
CAMERA_CHANNELS = tuple(_CAMERAS)


def make_cameras(scale: float) -> tuple[Sensor, ...]:
    """The six cameras with images of 1600x900 times `scale` and intrinsics to match."""
    width, height = round(FULL_WIDTH * scale), round(FULL_HEIGHT * scale)
    cameras = []
    for channel, (position, (yaw, pitch, roll), (focal, cx, cy), delay) in _CAMERAS.items():
        # From a camera that looks along ego x: z forward becomes x, x right becomes -y, y down becomes -z.
        level = np.array([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
        turn = Rotation.from_euler("ZYX", [yaw, -pitch, roll], degrees=True).as_matrix()
        sx, sy = width / FULL_WIDTH, height / FULL_HEIGHT
        intrinsic = ((focal * sx, 0.0, cx * sx), (0.0, focal * sy, cy * sy), (0.0, 0.0, 1.0))
        rotation = quaternion(turn @ level)
        cameras.append(Sensor(channel, "camera", position, rotation, delay, intrinsic, width, height))
    return tuple(cameras)


def make_lidar() -> Sensor:
    """The 32-beam LiDAR on the roof."""
    rotation = quaternion(Rotation.from_euler("ZYX", [-90.0, 0.3, -1.0], degrees=True).as_matrix())
    return Sensor(LIDAR_CHANNEL, "lidar", (0.94, 0.0, 1.84), rotation, 0)


def quaternion(matrix: Array) -> tuple[float, float, float, float]:
    """The unit quaternion w x y z, w ≥ 0, of a rotation matrix (3, 3)."""
    x, y, z, w = Rotation.from_matrix(matrix).as_quat(canonical=True)
    return float(w), float(x), float(y), float(z)


def pose_matrix(translation: tuple[float, float, float], rotation: tuple[float, float, float, float]) -> Array:
    """The transformation (4, 4) of a translation [m] and a unit quaternion w x y z."""
    matrix = np.eye(4)
    matrix[:3, :3] = Rotation.from_quat(np.roll(rotation, -1)).as_matrix()
    matrix[:3, 3] = translation
    return matrix
