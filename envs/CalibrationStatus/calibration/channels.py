"""The input of the network: a camera's picture, and the LiDAR's depth and intensity as that camera would see them.

Channels: blue, green, red (0 to 255); depth, 255 · z / 128 m, at most 255; intensity (0 to 255). A pixel without a
return has depth and intensity 0. Of several returns in a pixel the nearest counts.
"""

from typing import Any, Dict, NamedTuple, Optional, Tuple

import numpy as np
from PIL import Image

from worker.adapter import DataError
from worker.samples.miscalibration import Miscalibration

HEIGHT, WIDTH = 64, 112
"""Pixels of the input: the picture is scaled to it, its shape included."""
CHANNELS = 5
MAX_DEPTH_M = 128.0
MIN_DEPTH_M = 0.5
COLUMNS = 5
"""Of nuScenes' LiDAR files: x, y, z [m], intensity (0 to 255), ring."""


class View(NamedTuple):
    """One camera of a sample: its picture scaled, (3, H, W) BGR, and what it takes to project into it.

    `points` (N, 3) [m] are in the camera's frame as the calibration says; `intensity` (N,); `intrinsic` (3, 3) is of
    the scaled picture.
    """

    picture: np.ndarray
    points: np.ndarray
    intensity: np.ndarray
    intrinsic: np.ndarray


def read_views(sample: Dict[str, Any]) -> Dict[str, View]:
    """Read the LiDAR's sweep and every camera's picture of a sample.

    Raises:
        DataError: there is no LiDAR or no camera, or a file cannot be read.
    """
    if not sample.get("lidar") or not sample.get("cameras"):
        raise DataError("sample {} lacks a LiDAR sweep or cameras".format(sample["sample_token"]))
    sweep = _read_sweep(sample["lidar"]["path"])
    world = _move(sweep[:, :3], _matrix(sample["lidar"]["ego2global"]) @ _matrix(sample["lidar"]["sensor2ego"]))
    return {name: _view(camera, world, sweep[:, 3]) for name, camera in sample["cameras"].items()}


def make_channels(view: View, error: Optional[Miscalibration] = None) -> np.ndarray:
    """Return the input (5, H, W) float32; with `error` the camera is where it would be with that error."""
    points = view.points if error is None else _move(view.points, np.linalg.inv(error_matrix(error)))
    ahead = points[:, 2] > MIN_DEPTH_M
    x, y, depth = points[ahead].T
    column = np.floor(view.intrinsic[0, 0] * x / depth + view.intrinsic[0, 2]).astype(np.int64)
    row = np.floor(view.intrinsic[1, 1] * y / depth + view.intrinsic[1, 2]).astype(np.int64)
    inside = (column >= 0) & (column < WIDTH) & (row >= 0) & (row < HEIGHT)
    far_first = np.argsort(-depth[inside], kind="stable")
    where = row[inside][far_first], column[inside][far_first]
    made = np.zeros((CHANNELS, HEIGHT, WIDTH), np.float32)
    made[:3] = view.picture
    made[3][where] = np.minimum(255.0 * depth[inside][far_first] / MAX_DEPTH_M, 255.0)
    made[4][where] = np.clip(view.intensity[ahead][inside][far_first], 0.0, 255.0)
    return made


def error_matrix(error: Miscalibration) -> np.ndarray:
    """Return the error as a matrix (4, 4), by Rodrigues' formula; it stands behind `sensor2ego`."""
    vector = np.radians(np.array(error.rotation_deg))
    angle = float(np.linalg.norm(vector))
    made = np.eye(4)
    made[:3, 3] = error.translation_m
    if angle > 0:
        x, y, z = vector / angle
        cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
        made[:3, :3] = np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
    return made


def _view(camera: Dict[str, Any], world: np.ndarray, intensity: np.ndarray) -> View:
    if "intrinsic" not in camera:
        raise DataError("the camera of {} has no calibration to judge".format(camera["path"]))
    picture, (width, height) = _read_picture(camera["path"])
    scale = np.diag([WIDTH / width, HEIGHT / height, 1.0])
    to_camera = np.linalg.inv(_matrix(camera["ego2global"]) @ _matrix(camera["sensor2ego"]))
    return View(picture, _move(world, to_camera), intensity, scale @ np.array(camera["intrinsic"]))


def _read_picture(path: str) -> Tuple[np.ndarray, Tuple[int, int]]:
    try:
        with Image.open(path) as opened:
            size = opened.size
            scaled = opened.convert("RGB").resize((WIDTH, HEIGHT), Image.BILINEAR)
    except OSError as error:
        raise DataError(f"the image {path} cannot be read: {error.strerror or error}") from error
    return np.asarray(scaled, np.float32)[:, :, ::-1].transpose(2, 0, 1), size


def _read_sweep(path: str) -> np.ndarray:
    try:
        values = np.fromfile(path, np.float32)
    except OSError as error:
        raise DataError(f"the sweep {path} cannot be read: {error.strerror or error}") from error
    if len(values) % COLUMNS:
        raise DataError(f"the sweep {path} does not hold whole points of {COLUMNS} numbers")
    return values.reshape(-1, COLUMNS)


def _matrix(pose: Dict[str, Any]) -> np.ndarray:
    """The pose as a matrix (4, 4)."""
    w, x, y, z = pose["rotation_wxyz"]
    made = np.eye(4)
    made[:3, :3] = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    made[:3, 3] = pose["translation"]
    return made


def _move(points: np.ndarray, by: np.ndarray) -> np.ndarray:
    moved: np.ndarray = points.astype(np.float64) @ by[:3, :3].T + by[:3, 3]
    return moved
