"""Six small pictures of a drawn street, for GroundPlane's tests. Runs in the model's environment (NumPy, OpenCV).

The ground is a raster in the ego frame, warped into each camera; boxes are drawn over it, far ones first.
"""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np

# name: x, y, z [m], yaw [degrees], horizontal field of view [degrees]
CAMERAS: dict[str, tuple[float, float, float, float, float]] = {
    "CAM_FRONT": (1.7, 0.0, 1.5, 0.0, 64.6),
    "CAM_FRONT_RIGHT": (1.55, -0.5, 1.5, -56.0, 64.8),
    "CAM_BACK_RIGHT": (1.0, -0.5, 1.55, -110.0, 64.9),
    "CAM_BACK": (0.0, 0.0, 1.55, 180.0, 89.5),
    "CAM_BACK_LEFT": (1.0, 0.5, 1.6, 110.0, 64.9),
    "CAM_FRONT_LEFT": (1.55, 0.5, 1.5, 56.0, 64.8),
}
SIZE = (800, 450)
CELL = 0.04
REACH = 60.0  # of the ground raster, to every side
POSE = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
LIDAR = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [math.sqrt(0.5), 0.0, 0.0, -math.sqrt(0.5)]}


def camera_entry(name: str, path: Path) -> dict[str, Any]:
    """One entry of `sample["cameras"]`."""
    x, y, z, yaw, view = CAMERAS[name]
    focal = SIZE[0] / 2 / math.tan(math.radians(view) / 2)
    turn = math.radians(yaw)
    # Camera axes (right, down, ahead) in the ego frame: the quaternion of yaw times (0.5, -0.5, 0.5, -0.5).
    c, s = math.cos(turn / 2), math.sin(turn / 2)
    rotation = [0.5 * (c + s), -0.5 * (c + s), 0.5 * (c - s), -0.5 * (c - s)]
    intrinsic = [[focal, 0.0, SIZE[0] / 2 - 0.5], [0.0, focal, SIZE[1] / 2 - 0.5 + 20], [0.0, 0.0, 1.0]]
    return {
        "path": str(path),
        "width": SIZE[0],
        "height": SIZE[1],
        "timestamp_us": 0,
        "intrinsic": intrinsic,
        "sensor2ego": {"translation": [x, y, z], "rotation_wxyz": rotation},
        "ego2global": POSE,
    }


def sample_of(folder: Path) -> dict[str, Any]:
    """A sample whose pictures lie in `folder`."""
    return {
        "sample_token": "drawn",
        "scene": "scene-drawn",
        "scene_token": "drawn-scene",
        "index_in_scene": 0,
        "timestamp_us": 1_000_000,
        "ego2global": POSE,
        "cameras": {name: camera_entry(name, folder / (name + ".png")) for name in CAMERAS},
        "lidar": {"path": "", "timestamp_us": 0, "sensor2ego": LIDAR, "ego2global": POSE},
    }


# x, y, yaw, width, length, height [m] and colour of the boxes in the street
BOXES: list[tuple[tuple[float, ...], tuple[int, int, int]]] = [
    ((20.0, -1.75, 0.0, 1.9, 4.5, 1.6), (40, 40, 180)),
    ((10.0, 5.25, math.pi, 1.9, 4.4, 1.5), (200, 120, 40)),
    ((-15.0, 1.75, 0.0, 1.9, 4.6, 1.7), (235, 235, 235)),
]

SHADE = (24, 22, 20)
CLEARANCE_M = 0.2


class Street:
    """A ground raster and the boxes on it. Colours are BGR."""

    def __init__(self) -> None:
        cells = int(2 * REACH / CELL)
        self.ground = np.full((cells, cells, 3), (70, 120, 80), np.uint8)
        self.boxes: list[tuple[tuple[float, ...], tuple[int, int, int]]] = []

    def paint(self, corners: Any, colour: tuple[int, int, int]) -> None:
        """Fill a polygon given in metres."""
        points = np.asarray(corners, dtype=float)
        cells = np.column_stack([(REACH - points[:, 1]) / CELL, (REACH - points[:, 0]) / CELL])
        cv2.fillPoly(self.ground, [np.round(cells * 16 - 8).astype(np.int32)], colour, cv2.LINE_AA, 4)

    def strip(self, x: tuple[float, float], y: tuple[float, float], colour: tuple[int, int, int]) -> None:
        """Fill a rectangle between two x and two y."""
        self.paint([(x[0], y[0]), (x[1], y[0]), (x[1], y[1]), (x[0], y[1])], colour)

    def add_box(self, box: tuple[float, ...], colour: tuple[int, int, int]) -> None:
        """Stand a box on the ground: x, y, yaw, width, length, height."""
        self.boxes.append((box, colour))

    def render(self, folder: Path) -> dict[str, Any]:
        """Write the six pictures and return the sample."""
        from groundplane.geometry import read_camera

        sample = sample_of(folder)
        for name, entry in sample["cameras"].items():
            cv2.imwrite(entry["path"], self._picture(read_camera(name, entry, POSE)))
        return sample

    def _picture(self, camera: Any) -> np.ndarray:
        to_ground = np.array([[0.0, -CELL, REACH - CELL / 2], [-CELL, 0.0, REACH - CELL / 2], [0.0, 0.0, 1.0]])
        homography = camera.ground_to_pixel @ to_ground
        rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
        ground = np.stack([columns, rows, np.ones_like(rows)], -1) @ np.linalg.inv(homography).T
        # Rays that never meet the ground have the other sign of the homogeneous coordinate.
        near = np.linalg.inv(homography) @ np.array([SIZE[0] / 2, SIZE[1] - 1.0, 1.0])
        below = ground[..., 2] * np.sign(near[2]) > 1e-9
        cells = ground[..., :2] / np.where(below, ground[..., 2], 1.0)[..., None]
        cells = np.where(below[..., None], cells, -1.0).astype(np.float32)
        picture = cv2.remap(
            self.ground, cells, None, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(70, 120, 80)
        )
        picture[~below] = (215, 190, 160)
        for box, colour in sorted(self.boxes, key=lambda item: -math.hypot(item[0][0], item[0][1])):
            _draw_box(picture, camera, box, colour)
        noise = np.random.default_rng(5).normal(0, 2.0, picture.shape)
        noisy: np.ndarray = np.clip(picture + noise, 0, 255).astype(np.uint8)
        return noisy


def _draw_box(picture: np.ndarray, camera: Any, box: tuple[float, ...], colour: tuple[int, int, int]) -> None:
    """A box whose body begins a little above the ground, with its shade beneath."""
    from groundplane.geometry import project
    from groundplane.silhouette import corners_of

    below, depth = project(camera, corners_of(np.array([box]), np.zeros(1))[0][[0, 2, 4, 6]])
    if depth.min() < 0.3:
        return
    cv2.fillConvexPoly(picture, cv2.convexHull(np.round(below).astype(np.int32)), SHADE, cv2.LINE_AA)
    corners = corners_of(np.array([box]), np.full(1, CLEARANCE_M))[0]
    pixels, _ = project(camera, corners)
    middle = corners.mean(axis=0)
    faces = ((0, 1, 3, 2), (4, 5, 7, 6), (0, 1, 5, 4), (2, 3, 7, 6), (1, 3, 7, 5))
    for shade, face in zip((0.8, 0.8, 0.6, 0.6, 1.0), faces, strict=True):
        center = corners[list(face)].mean(axis=0)
        if (center - middle) @ (camera.position - center) <= 0:
            continue
        shape = np.round(pixels[list(face)]).astype(np.int32)
        cv2.fillConvexPoly(picture, cv2.convexHull(shape), tuple(shade * value for value in colour), cv2.LINE_AA)


def plain_street() -> Street:
    """A straight road of four lanes with walkways, dashed and solid lines and a zebra crossing ahead."""
    street = Street()
    street.strip((-60, 60), (-10.6, 10.6), (165, 165, 165))
    street.strip((-60, 60), (-7.3, 7.3), (88, 86, 85))
    for y in (-3.5, 3.5):
        for start in range(-60, 60, 6):
            street.strip((start, start + 3), (y - 0.075, y + 0.075), (225, 225, 225))
    street.strip((-60, 60), (-0.075, 0.075), (225, 225, 225))
    street.strip((11.2, 15.8), (-7.3, 7.3), (88, 86, 85))
    for index in range(14):
        y = -7.0 + 1.04 * index
        street.strip((12, 15), (y, y + 0.5), (225, 225, 225))
    return street
