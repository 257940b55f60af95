"""KITTI by the devkit's rule: its export told again with quaternions, line by line and byte by byte."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.conversion.generated_scenes import SIZE, GeneratedRecording, read, write

from admlops.conversion.base import ReadOptions
from admlops.conversion.convert import open_recording
from admlops.conversion.frames import Cuboid, Frame, Pose
from admlops.core.errors import DataError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.images.pictures import Images
from admlops.worker.samples.quaternions import multiply_quaternions, rotate

TURN = (math.cos(math.pi / 4), 0.0, 0.0, math.sin(math.pi / 4))
"""From KITTI's LiDAR to nuScenes'."""


class Box:
    """What the devkit's `Box` does of translate and rotate."""

    def __init__(self, cuboid: Cuboid) -> None:
        self.center, self.turn, self.wlh = cuboid.center, cuboid.rotation_wxyz, cuboid.size_wlh

    def translate(self, by: tuple[float, ...]) -> None:
        x, y, z = (a + b for a, b in zip(self.center, by, strict=True))
        self.center = (x, y, z)

    def rotate(self, by: tuple[float, float, float, float]) -> None:
        self.center, self.turn = rotate(by, self.center), multiply_quaternions(by, self.turn)

    def leave(self, pose: Pose) -> None:
        self.translate(tuple(-value for value in pose.translation))
        self.rotate(conjugate(pose.rotation_wxyz))

    def enter(self, pose: Pose) -> None:
        self.rotate(pose.rotation_wxyz)
        self.translate(pose.translation)

    def corners(self) -> np.ndarray:
        width, length, height = self.wlh
        signs = [(1, 1, 1), (1, -1, 1), (1, -1, -1), (1, 1, -1), (-1, 1, 1), (-1, -1, 1), (-1, -1, -1), (-1, 1, -1)]
        own = [rotate(self.turn, (a * length / 2, b * width / 2, c * height / 2)) for a, b, c in signs]
        return np.array(own) + self.center


def conjugate(turn: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    w, x, y, z = turn
    return (w, -x, -y, -z)


def devkit_line(cuboid: Cuboid, frame: Frame) -> str | None:
    name = CATEGORY_CLASSES.get(cuboid.category)
    camera, lidar = frame.cameras["CAM_FRONT"], frame.lidar
    if name is None:
        return None
    assert lidar is not None
    assert lidar.sensor2ego is not None
    assert lidar.ego2global is not None
    assert camera.sensor2ego is not None
    assert camera.intrinsic is not None
    box = Box(cuboid)
    box.leave(lidar.ego2global)
    box.leave(lidar.sensor2ego)
    box.rotate(conjugate(TURN))  # KITTI's LiDAR
    box.rotate(TURN)  # and, with velo_to_cam, the camera's
    box.enter(lidar.sensor2ego)
    box.leave(camera.sensor2ego)
    points = np.array([point for point in box.corners() if point[2] > 0])
    if not len(points):
        return None
    pixels = points @ np.array(camera.intrinsic).T
    pixels = pixels[:, :2] / pixels[:, 2:]
    cut = [max(0, value) for value in (*pixels.min(axis=0), *pixels.max(axis=0))]
    cut = [min(SIZE[0], cut[0]), min(SIZE[0], cut[1]), min(SIZE[0], cut[2]), min(SIZE[1], cut[3])]
    if cut[0] >= cut[2] or cut[1] >= cut[3]:
        return None
    ahead = rotate(box.turn, (1.0, 0.0, 0.0))
    x, y, z = box.center
    width, length, height = box.wlh
    line = f"{name} {0.0:.2f} {0:d} {-10.0:.2f} {cut[0]:.2f} {cut[1]:.2f} {cut[2]:.2f} {cut[3]:.2f} "
    line += f"{height:.2} {width:.2f} {length:.2f} {x:.2f} {y + height / 2:.2f} {z:.2f} "
    return line + f"{-math.atan2(ahead[2], ahead[0]):.2f} {0.0:.4f}\n"


def test_labels_are_the_devkits_line_by_line(tmp_path: Path) -> None:
    drawn = GeneratedRecording(tmp_path / "files", 6)
    write(drawn, "kitti", tmp_path / "kitti", rule="devkit")
    lines = 0
    for frame in (frame for scene in drawn.scenes(drawn.scene_names) for frame in scene.frames):
        told = [line for one in frame.cuboids or () if (line := devkit_line(one, frame)) is not None]
        assert (tmp_path / "kitti/training/label_2" / f"{frame.token}.txt").read_text() == "".join(told)
        lines += len(told)
    assert lines > 20


def test_points_calibrations_and_pictures_are_the_devkits(tmp_path: Path) -> None:
    drawn = GeneratedRecording(tmp_path / "files", 1)
    write(drawn, "kitti", tmp_path / "kitti", rule="devkit")
    folder = tmp_path / "kitti" / "training"
    (scene,) = drawn.scenes(drawn.scene_names)
    for frame in scene.frames:
        points = np.fromfile(folder / "velodyne" / f"{frame.token}.bin", "<f4").reshape(-1, 4)
        assert frame.lidar is not None
        given = np.fromfile(frame.lidar.path, "<f4").reshape(-1, 5)
        # A turn of -90° about z: nuScenes' y, which looks ahead, becomes KITTI's x.
        np.testing.assert_allclose(points, np.stack([given[:, 1], -given[:, 0], given[:, 2], given[:, 3]], axis=1))
        text = (folder / "calib" / f"{frame.token}.txt").read_text()
        rows = dict(line.split(": ") for line in text.splitlines())
        assert list(rows) == ["P0", "P1", "P2", "P3", "R0_rect", "Tr_velo_to_cam", "Tr_imu_to_velo"]
        assert rows["P0"] == rows["Tr_imu_to_velo"] == " ".join(["0.000000000000e+00"] * 12)
        rotation = np.array([float(v) for v in rows["Tr_velo_to_cam"].split()]).reshape(3, 4)[:, :3]
        assert (rotation.round(0) == [[0, -1, 0], [0, 0, -1], [1, 0, 0]]).all()
        with Image.open(folder / "image_2" / f"{frame.token}.png") as picture, Image.open(drawn._picture) as source:
            assert picture.format == "PNG"
            assert (np.asarray(picture) == np.asarray(source)).all()


@pytest.mark.parametrize("rule", ["clip", "devkit"])
def test_the_reader_of_pictures_takes_what_is_written(tmp_path: Path, rule: str) -> None:
    """Classes of nuScenes' detection task in KITTI's form: the devkit writes such, and so does this."""
    write(GeneratedRecording(tmp_path / "files", 3), "kitti", tmp_path / "kitti", rule=rule)
    data = Images(tmp_path / "kitti")
    tokens = [token for scene in data.scenes() for token in scene.samples]
    classes = {name for token in tokens for own in data.image_annotations(token).values() for name in own.classes}
    assert classes
    assert classes <= set(data.classes_2d())
    assert classes <= set(CATEGORY_CLASSES.values())


def test_kittis_own_frame_stands_under_its_lidar_and_beside_its_first_camera(tmp_path: Path) -> None:
    """P2 holds where the second camera is; without an IMU the vehicle's frame is on the ground."""
    folder = tmp_path / "training"
    for name in ("image_2", "calib", "label_2"):
        (folder / name).mkdir(parents=True)
    Image.new("RGB", (1242, 375)).save(folder / "image_2" / "000007.png")
    calibration = "P2: 700 0 600 42 0 700 180 0 0 0 1 0\nR0_rect: 1 0 0 0 1 0 0 0 1\n"
    (folder / "calib" / "000007.txt").write_text(calibration + "Tr_velo_to_cam: 0 -1 0 0 0 0 -1 -0.08 1 0 0 -0.27\n")
    label = "Car 0.00 0 1.5 600 150 650 200 1.5 1.6 4.0 2.0 1.65 20.0 -1.5707963\nDontCare -1 -1 -10 1 2 3 4 -1 -1 -1 "
    (folder / "label_2" / "000007.txt").write_text(label + "-1000 -1000 -1000 -10\n")
    (scene,) = read(tmp_path)
    (frame,) = scene.frames
    (car,) = frame.cuboids or ()
    assert car.category == "Car"
    assert car.size_wlh == (1.6, 4.0, 1.5)
    # 20 m ahead of the camera and 0.27 m more of the LiDAR, 2 m to the right; its bottom 1.65 m below the camera.
    np.testing.assert_allclose(car.center, [20.27, -2.0, 1.73 - 0.08 - 1.65 + 0.75], atol=1e-6)
    np.testing.assert_allclose(car.rotation_wxyz, [1.0, 0.0, 0.0, 0.0], atol=1e-6)
    mount = frame.cameras["CAM_FRONT"].sensor2ego
    assert mount is not None
    np.testing.assert_allclose(mount.translation, [0.27, -42 / 700 * -1, 1.73 - 0.08], atol=1e-6)
    assert [box.ignore for box in frame.boxes_2d["CAM_FRONT"]] == [False, True]


def test_a_broken_label_is_named_with_its_line(tmp_path: Path) -> None:
    write(GeneratedRecording(tmp_path / "files", 1), "kitti", tmp_path / "kitti")
    (first, *_) = sorted((tmp_path / "kitti/training/label_2").iterdir())
    first.write_text("Car 0 0 0 1 2 3\n")
    recording = open_recording(tmp_path / "kitti", ReadOptions())
    with pytest.raises(DataError, match=r"line 1, is not KITTI's"):
        list(recording.scenes(recording.scene_names))
