"""Scenes drawn at random: tilted vehicles and sensors, objects around and across the camera's plane, small files."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from PIL import Image
from scipy.spatial.transform import Rotation

from admlops.conversion.base import ReadOptions, WriteOptions
from admlops.conversion.convert import Chosen, Conversion, convert, find_format, open_recording
from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.frames import (
    Cuboid,
    Frame,
    Log,
    MapMask,
    Modality,
    Pose,
    Quaternion,
    SceneFrames,
    SensorFile,
)

FRAMES, OBJECTS = 2, 9
SIZE = (160, 90)
CAMERAS = {"CAM_FRONT": 0.0, "CAM_BACK": 180.0}
CATEGORIES = (
    *("vehicle.car", "vehicle.truck", "human.pedestrian.adult", "vehicle.bicycle", "movable_object.barrier"),
    *("static_object.bicycle_rack", "vehicle.bus.bendy"),
)
CAMERA_AXES = Rotation.from_matrix([[0, 0, 1], [-1, 0, 0], [0, -1, 0]])
"""A camera that looks ahead, level."""


@dataclass(frozen=True)
class GeneratedRecording:
    """`count` scenes; the same seed gives the same."""

    root: Path
    count: int
    seed: int = 0
    form: str = "generated"
    version: str = ""
    frames: int = FRAMES

    @property
    def scene_names(self) -> Sequence[str]:
        return [f"scene-{number:04d}" for number in range(self.count)]

    def find_categories(self) -> Sequence[str]:
        return CATEGORIES

    def find_maps(self) -> Sequence[MapMask]:
        return []

    def find_folders(self) -> Mapping[str, Path]:
        return {}

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        for name in names:
            yield self._scene(name)

    @cached_property
    def _picture(self) -> Path:
        path = self.root / "picture.jpg"
        if not path.exists():
            content = io.BytesIO()
            Image.new("RGB", SIZE, (90, 120, 60)).save(content, "JPEG")
            self.root.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content.getvalue())
        return path

    @cached_property
    def _points(self) -> Path:
        path = self.root / "points.bin"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            path.write_bytes(np.random.default_rng(1).normal(0, 20, (6, 5)).astype("<f4").tobytes())
        return path

    def _scene(self, name: str) -> SceneFrames:
        rng = np.random.default_rng([self.seed, int(name[-4:])])
        start = np.array([*rng.uniform(-2000, 2000, 2), 0.0])
        heading = rng.uniform(-180, 180)
        mounts = {channel: _mount(yaw, rng) for channel, yaw in CAMERAS.items()}
        mounts["LIDAR_TOP"] = _pose([0.94, 0.0, 1.84], Rotation.from_euler("ZYX", [-90 + rng.normal(), 0.3, 0.2], True))
        objects = [_Object(name, number, start, heading, rng) for number in range(OBJECTS)]
        frames = [self._frame(name, n, start, heading, mounts, objects, rng) for n in range(self.frames)]
        return SceneFrames(
            name=name,
            token=make_token("scene", name, self.seed),
            frames=frames,
            description=f"drawn {name}",
            log=Log(logfile=f"log-{name}", vehicle="n015", date="2026-11-30", location="singapore-onenorth"),
        )

    def _frame(
        self,
        scene: str,
        number: int,
        start: np.ndarray,
        heading: float,
        mounts: Mapping[str, Pose],
        objects: Sequence[_Object],
        rng: np.random.Generator,
    ) -> Frame:
        time = 1_600_000_000_000_000 + 500_000 * number

        def vehicle(at_us: int) -> Pose:
            travelled = Rotation.from_euler("z", heading, True).apply([4e-6 * (at_us - 1_600_000_000_000_000), 0, 0])
            return _pose(start + travelled, Rotation.from_euler("ZYX", [heading, 0.4, -0.3], True))

        files = []
        for channel, mount in mounts.items():
            modality: Modality = "lidar" if channel == "LIDAR_TOP" else "camera"
            at = time if modality == "lidar" else time - 20_000
            name = f"samples/{channel}/{scene}__{channel}__{at}{'.pcd.bin' if modality == 'lidar' else '.jpg'}"
            is_camera = modality == "camera"
            files.append(
                SensorFile(
                    channel=channel,
                    modality=modality,
                    name=name,
                    path=self._picture if is_camera else self._points,
                    timestamp_us=at,
                    sensor2ego=mount,
                    ego2global=vehicle(at),
                    width=SIZE[0] if is_camera else 0,
                    height=SIZE[1] if is_camera else 0,
                    intrinsic=((126.5, 0.0, 81.0), (0.0, 126.5, 46.0), (0.0, 0.0, 1.0)) if is_camera else None,
                    token=make_token("file", scene, channel, at),
                )
            )
        return Frame(
            token=make_token("sample", scene, number, self.seed),
            timestamp_us=time,
            ego2global=vehicle(time),
            files=tuple(files),
            cuboids=tuple(one.at(number, rng) for one in objects),
        )


class _Object:
    """Something that moves, upright, near the vehicle: now and then across the plane of a camera."""

    def __init__(self, scene: str, number: int, start: np.ndarray, heading: float, rng: np.random.Generator) -> None:
        self.scene, self.number = scene, number
        self.category = CATEGORIES[int(rng.integers(len(CATEGORIES)))]
        around = Rotation.from_euler("z", heading, True).apply([rng.uniform(-25, 25), rng.uniform(-6, 6), 0])
        self.center = start + around + [0, 0, rng.uniform(0.2, 1.2)]
        self.size = tuple(float(value) for value in np.round(rng.uniform([0.4, 0.4, 0.5], [2.5, 9.0, 3.0]), 3))
        self.yaw = rng.uniform(-180, 180)
        self.speed = rng.normal(0, 2, 2)

    def at(self, frame: int, rng: np.random.Generator) -> Cuboid:
        moved = self.center + np.array([*(0.5 * frame * self.speed), 0])
        turned = _pose(moved, Rotation.from_euler("z", self.yaw + 3 * frame, True))
        return Cuboid(
            token=make_token("annotation", self.scene, self.number, frame),
            category=self.category,
            center=turned.translation,
            size_wlh=(self.size[0], self.size[1], self.size[2]),
            rotation_wxyz=turned.rotation_wxyz,
            track=make_token("object", self.scene, self.number),
            attributes=("vehicle.moving",) if self.category.startswith("vehicle.car") else (),
            visibility=int(rng.integers(1, 5)),
            lidar_points=int(rng.integers(0, 30)),
            radar_points=int(rng.integers(0, 3)),
        )


def _mount(yaw: float, rng: np.random.Generator) -> Pose:
    tilt = Rotation.from_euler("ZYX", [yaw, *rng.normal(0, 1.0, 2)], True)
    return _pose([1.5 if yaw == 0 else -0.5, 0.0, 1.5], tilt * CAMERA_AXES)


def _pose(translation: Sequence[float] | np.ndarray, rotation: Rotation) -> Pose:
    x, y, z, w = (float(value) for value in rotation.as_quat(canonical=True))
    tx, ty, tz = (float(value) for value in translation)
    turned: Quaternion = (w, x, y, z)
    return Pose((tx, ty, tz), turned)


def write(recording: object, form: str, out: Path, **options: object) -> Conversion:
    """Write a recording in a form."""
    return convert(
        recording,  # type: ignore[arg-type]
        find_format(form),
        out,
        options=WriteOptions(**options),  # type: ignore[arg-type]
        chosen=Chosen(),
        mode="hardlink",
        watch=lambda done, total: None,
    )


def read(root: Path, **options: object) -> list[SceneFrames]:
    """Read all scenes of what is in a folder."""
    recording = open_recording(root, ReadOptions(**options))  # type: ignore[arg-type]
    return list(recording.scenes(recording.scene_names))
