"""Writing KITTI's object detection: one camera, its LiDAR, calibrations and labels, below `training/`.

The rule `devkit` gives what nuscenes-devkit's `scripts/export_kitti.py` gives: boxes and calibrations as if LiDAR and
camera had looked at the same moment, nothing of the vehicle, two digits. Else the camera's own moment counts, six
digits are written, and `Tr_imu_to_velo` says where the vehicle's frame is. Files are named after the sample's token.
"""

from __future__ import annotations

import io
import math

import numpy as np
from PIL import Image

from admlops.conversion.base import Target
from admlops.conversion.formats.kitti_files import KITTI_TO_NUSCENES, Label, devkit_bounds, write_calibration
from admlops.conversion.frames import Cuboid, Frame, Recording, SceneFrames, SensorFile
from admlops.conversion.geometry import Matrix, corners, invert
from admlops.conversion.points import read_points
from admlops.conversion.seen import global_to_camera, list_seen
from admlops.core.errors import DataError

FOLDER = "training"
OCCLUDED = {4: 0, 3: 1, 2: 2, 1: 2, 0: 3}
"""KITTI's occlusion by nuScenes' visibility: 0 fully visible, 1 partly, 2 largely occluded, 3 unknown."""


class KittiWriter:
    """Writes four files for each frame that has the camera."""

    def __init__(self, target: Target, recording: Recording) -> None:
        self._target = target
        self._is_devkit = target.options.rule == "devkit"

    def add(self, scene: SceneFrames) -> None:
        """Write every frame of a scene. Raises DataError: a picture cannot be read."""
        channel = self._target.options.camera
        for frame in scene.frames:
            camera = frame.cameras.get(channel) or frame.cameras.get("IMAGE")
            if camera is None:
                there = ", ".join(frame.cameras) or "no camera"
                raise DataError(f"frame {frame.token} has no {channel}, but {there}", hint="pass --camera with one")
            self._target.lose("pictures", f"KITTI has one camera, {camera.channel}", len(frame.cameras) - 1)
            self._add_frame(frame, camera)

    def finish(self) -> None:
        """Do nothing: nothing belongs to all scenes."""

    def _add_frame(self, frame: Frame, camera: SensorFile) -> None:
        self._write_picture(frame, camera)
        has_place = camera.sensor2ego is not None and camera.ego2global is not None and camera.intrinsic is not None
        if has_place:
            self._write_calibration(frame, camera)
        if frame.lidar is not None:
            self._write_points(frame.token, frame.lidar)
        if frame.boxes_2d.get(camera.channel) is not None or not has_place:
            self._write_flat(frame, camera)
        elif frame.cuboids is not None:
            lines = self._devkit_lines(frame, camera) if self._is_devkit else self._lines(frame, camera)
            self._write("label_2", frame.token, "txt", "".join(lines).encode())
            self._target.lose("cuboids", f"the box is not seen by {camera.channel}", len(frame.cuboids) - len(lines))

    def _write_picture(self, frame: Frame, camera: SensorFile) -> None:
        name = f"{FOLDER}/image_2/{frame.token}.png"
        if camera.path.suffix.lower() == ".png":
            self._target.placer.place(camera.path, name)
            return
        content = io.BytesIO()
        try:
            with Image.open(camera.path) as picture:
                picture.convert("RGB").save(content, "PNG")
        except OSError as error:
            raise DataError(
                f"{camera.path} is no picture: {error}", hint="admlops data check   # names such"
            ) from error
        self._target.write(name, content.getvalue())
        self._target.counts["pictures_as_png"] += 1

    def _write_calibration(self, frame: Frame, camera: SensorFile) -> None:
        projection = np.zeros((3, 4))
        projection[:, :3] = _intrinsic(camera)
        matrices = {"P2": projection, "R0_rect": np.eye(3), "Tr_velo_to_cam": self._velo_to_cam(frame, camera)[:3]}
        if not self._is_devkit:
            matrices["Tr_imu_to_velo"] = invert(_velo_to_ego(frame))[:3]
        self._write("calib", frame.token, "txt", write_calibration(matrices).encode())

    def _velo_to_cam(self, frame: Frame, camera: SensorFile) -> Matrix:
        """From KITTI's LiDAR frame to the camera's."""
        assert camera.sensor2ego is not None
        to_ego = _velo_to_ego(frame)
        if self._is_devkit or frame.ego2global is None:
            return invert(camera.sensor2ego.matrix) @ to_ego
        return global_to_camera(camera) @ frame.ego2global.matrix @ to_ego

    def _write_points(self, token: str, lidar: SensorFile) -> None:
        points = read_points(lidar)[:, :4].copy()
        turned = points[:, :3].astype(np.float32) @ KITTI_TO_NUSCENES[:3, :3].astype(np.float32)
        points[:, :3] = turned
        self._write("velodyne", token, "bin", points.astype("<f4").tobytes())

    def _lines(self, frame: Frame, camera: SensorFile) -> list[str]:
        """A line for each box that the camera sees, as it was when the camera looked."""
        to_camera = global_to_camera(camera)
        lines = []
        for one in list_seen(frame, camera, rule="clip") or ():
            assert one.cuboid is not None
            name = self._target.class_of(one.cuboid.category)
            if name is not None:
                own = to_camera @ one.cuboid.pose.matrix
                label = _label(one.cuboid, name, own, one.box.xyxy, truncated=1 - one.share)
                lines.append(label.to_line())
        return lines

    def _devkit_lines(self, frame: Frame, camera: SensorFile) -> list[str]:
        """A line for each box as nuscenes-devkit has it: through the LiDAR's frame, without the time between."""
        assert frame.ego2global is not None
        to_camera = self._velo_to_cam(frame, camera) @ invert(frame.ego2global.matrix @ _velo_to_ego(frame))
        intrinsic, size = _intrinsic(camera), (camera.width, camera.height)
        lines = []
        for cuboid in frame.cuboids or ():
            name = self._target.class_of(cuboid.category)
            if name is None:
                continue
            own = to_camera @ cuboid.pose.matrix
            points = corners(own[np.newaxis, :3, 3], np.array([cuboid.size_wlh]), own[np.newaxis, :3, :3])[0]
            bounds = devkit_bounds(points, intrinsic, size)
            if bounds is not None:
                lines.append(_label(cuboid, name, own, bounds, truncated=0.0).to_devkit_line())
        return lines

    def _write_flat(self, frame: Frame, camera: SensorFile) -> None:
        """Boxes that were drawn in the picture: KITTI's numbers for what is not known of them in space."""
        boxes = frame.boxes_2d.get(camera.channel)
        if boxes is None:
            return
        lines = []
        for box in boxes:
            name = "DontCare" if box.ignore else self._target.class_of(box.category)
            if name is not None:
                label = Label(
                    kind=name,
                    truncated=-1.0,
                    occluded=-1,
                    alpha=-10.0,
                    bounds=box.xyxy,
                    size_hwl=(-1.0, -1.0, -1.0),
                    bottom=(-1000.0, -1000.0, -1000.0),
                    rotation_y=-10.0,
                )
                lines.append(label.to_line())
        self._write("label_2", frame.token, "txt", "".join(lines).encode())

    def _write(self, folder: str, token: str, suffix: str, content: bytes) -> None:
        self._target.write(f"{FOLDER}/{folder}/{token}.{suffix}", content)


def _intrinsic(camera: SensorFile) -> Matrix:
    return np.array(camera.intrinsic, np.float64)


def _velo_to_ego(frame: Frame) -> Matrix:
    """From KITTI's LiDAR frame to the vehicle's; without a LiDAR they are one."""
    if frame.lidar is None or frame.lidar.sensor2ego is None:
        return np.eye(4)
    matrix: Matrix = frame.lidar.sensor2ego.matrix @ KITTI_TO_NUSCENES
    return matrix


def _label(cuboid: Cuboid, name: str, own: Matrix, bounds: tuple[float, ...], *, truncated: float) -> Label:
    """The label of a box whose pose in the camera's frame is `own`."""
    width, length, height = cuboid.size_wlh
    x, y, z = own[:3, 3].tolist()
    rotation_y = -math.atan2(own[2, 0], own[0, 0])
    x1, y1, x2, y2 = bounds
    return Label(
        kind=name,
        truncated=truncated,
        occluded=OCCLUDED[cuboid.visibility],
        alpha=math.remainder(rotation_y - math.atan2(x, z), math.tau),
        bounds=(x1, y1, x2, y2),
        size_hwl=(height, width, length),
        bottom=(x, y + height / 2, z),
        rotation_y=rotation_y,
    )
