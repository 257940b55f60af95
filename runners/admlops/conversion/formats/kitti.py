"""KITTI's object detection as driving data: pictures, LiDAR, calibrations, and boxes in space.

Frames are unrelated, so each is a scene. The vehicle's frame is the IMU's where the calibration says where it is; else
it lies under the LiDAR, `LIDAR_HEIGHT_M` below, on the ground.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from admlops.conversion.base import DataFormat, ReadOptions
from admlops.conversion.formats.kitti_files import KITTI_TO_NUSCENES, Label, read_calibration, read_labels
from admlops.conversion.formats.kitti_writer import KittiWriter
from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.frames import IDENTITY, Box2D, Cuboid, Frame, Pose, SceneFrames, SensorFile, WithoutMaps
from admlops.conversion.geometry import Matrix, invert, split_matrix
from admlops.core.errors import DataError
from admlops.datasets.images.contents import PICTURE_SUFFIXES
from admlops.datasets.images.headers import read_header

PLACES = ("training", "", "testing")
LIDAR_HEIGHT_M = 1.73
"""Of KITTI's LiDAR above the ground (its setup page)."""
VISIBILITY = {0: 4, 1: 3, 2: 2}
FRAME_US = 100_000
"""Frames have no times: they get numbers a tenth of a second apart, as KITTI's LiDAR turned."""


@dataclass(frozen=True, kw_only=True)
class KittiRecording(WithoutMaps):
    """A folder with `image_2/`, `calib/`, and perhaps `velodyne/` and `label_2/`.

    Args:
        camera: what the camera is called.
        categories: other names for types.
    """

    root: Path
    camera: str = "CAM_FRONT"
    categories: Mapping[str, str] = field(default_factory=dict)
    form: str = "kitti"
    version: str = ""

    @cached_property
    def _folder(self) -> Path:
        return _find(self.root) or self.root

    @cached_property
    def _pictures(self) -> dict[str, Path]:
        files = sorted((self._folder / "image_2").iterdir())
        return {path.stem: path for path in files if path.suffix.lower() in PICTURE_SUFFIXES}

    @property
    def scene_names(self) -> Sequence[str]:
        """A scene for each picture."""
        return list(self._pictures)

    def find_categories(self) -> Sequence[str]:
        """None but those of labels."""
        return []

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named frames, each as a scene."""
        numbers = {name: number for number, name in enumerate(self._pictures)}
        for name in names:
            frame = self._frame(name, 1_000_000 + FRAME_US * numbers[name])
            yield SceneFrames(name=name, token=make_token("scene", name), frames=[frame], is_sequence=False)

    def _frame(self, name: str, timestamp_us: int) -> Frame:
        calibration = read_calibration(self._folder / "calib" / f"{name}.txt")
        intrinsic = calibration["P2"][:3, :3]
        # P2 = K [I | t]: the second colour camera sits beside the rectified frame that boxes are in.
        to_camera = np.eye(4)
        to_camera[:3, 3] = np.linalg.solve(intrinsic, calibration["P2"][:3, 3])
        velo_to_rect = calibration["R0_rect"] @ calibration["Tr_velo_to_cam"]
        velo_to_ego = _velo_to_ego(calibration)
        rect_to_ego = velo_to_ego @ np.linalg.inv(velo_to_rect)
        camera = self._camera(name, intrinsic, rect_to_ego @ invert(to_camera), timestamp_us)
        files = [camera, *self._lidar(name, velo_to_ego, timestamp_us)]
        path = self._folder / "label_2" / f"{name}.txt"
        labels = read_labels(path) if path.exists() else None
        token = name if len(name) == 32 else make_token("sample", name)
        return Frame(
            token=token,
            timestamp_us=timestamp_us,
            ego2global=IDENTITY,
            files=tuple(files),
            cuboids=None if labels is None else tuple(self._cuboids(token, labels, rect_to_ego)),
            boxes_2d={} if labels is None else {self.camera: tuple(self._box(one) for one in labels)},
        )

    def _camera(self, name: str, intrinsic: Matrix, to_ego: Matrix, timestamp_us: int) -> SensorFile:
        path = self._pictures[name]
        header = read_header(path)
        if header is None:
            raise DataError(f"{path} is no picture", hint=f"admlops data check {self.root}")
        first, second, third = (tuple(row) for row in intrinsic.tolist())
        return SensorFile(
            channel=self.camera,
            modality="camera",
            name=path.relative_to(self.root).as_posix(),
            path=path,
            timestamp_us=timestamp_us,
            sensor2ego=Pose(*split_matrix(to_ego)),
            ego2global=IDENTITY,
            width=header.stored[0],
            height=header.stored[1],
            intrinsic=(first, second, third),
        )

    def _lidar(self, name: str, velo_to_ego: Matrix, timestamp_us: int) -> Iterator[SensorFile]:
        path = self._folder / "velodyne" / f"{name}.bin"
        if path.is_file():
            yield SensorFile(
                channel="LIDAR_TOP",
                modality="lidar",
                name=path.relative_to(self.root).as_posix(),
                path=path,
                timestamp_us=timestamp_us,
                sensor2ego=Pose(*split_matrix(velo_to_ego @ invert(KITTI_TO_NUSCENES))),
                ego2global=IDENTITY,
                columns=4,
                points_pose=Pose(*split_matrix(KITTI_TO_NUSCENES)),
            )

    def _cuboids(self, token: str, labels: Sequence[Label], rect_to_ego: Matrix) -> Iterator[Cuboid]:
        """The boxes in space, upright in the vehicle's frame: KITTI's are upright in the camera's."""
        for number, one in enumerate(labels):
            height, width, length = one.size_hwl
            if min(height, width, length) <= 0:
                continue
            x, y, z = one.bottom
            center = rect_to_ego @ [x, y - height / 2, z, 1.0]
            ahead = rect_to_ego[:3, :3] @ [np.cos(one.rotation_y), 0.0, -np.sin(one.rotation_y)]
            half = np.arctan2(ahead[1], ahead[0]) / 2
            yield Cuboid(
                token=make_token("annotation", token, number),
                category=self.categories.get(one.kind, one.kind),
                center=(float(center[0]), float(center[1]), float(center[2])),
                size_wlh=(width, length, height),
                rotation_wxyz=(float(np.cos(half)), 0.0, 0.0, float(np.sin(half))),
                visibility=VISIBILITY.get(one.occluded, 0),
            )

    def _box(self, one: Label) -> Box2D:
        name = self.categories.get(one.kind, one.kind)
        return Box2D(xyxy=one.bounds, category=name, ignore=one.kind == "DontCare")


def _velo_to_ego(calibration: Mapping[str, Matrix]) -> Matrix:
    imu_to_velo = calibration.get("Tr_imu_to_velo")
    if imu_to_velo is not None and imu_to_velo[:3, :3].any():
        return invert(imu_to_velo)
    lifted = np.eye(4)
    lifted[2, 3] = LIDAR_HEIGHT_M
    return lifted


def _find(root: Path) -> Path | None:
    """The folder below a root that holds pictures and calibrations."""
    folders = (root / place for place in PLACES)
    return next((one for one in folders if (one / "image_2").is_dir() and (one / "calib").is_dir()), None)


def _recognise(root: Path) -> bool:
    return root.is_dir() and _find(root) is not None


def _read(root: Path, options: ReadOptions) -> KittiRecording:
    return KittiRecording(root=root)


FORMAT = DataFormat(
    id="kitti",
    title="KITTI",
    holds=frozenset({"pictures", "lidar", "calibrations", "cuboids", "boxes_2d", "ignored", "visibility"}),
    recognise=_recognise,
    read=_read,
    write=KittiWriter,
    names="detection",
    options=frozenset({"camera"}),
)
