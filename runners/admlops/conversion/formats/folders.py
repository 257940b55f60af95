"""Own data in plain folders: pictures, LiDAR files, poses and boxes, each scene a folder.

A moment is a file of the LiDAR, or of the first camera where there is none; the other sensors' nearest files in time
belong to it. Poses between two of a CSV are interpolated, rotations along the shortest turn.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Protocol

import msgspec
import numpy as np
from scipy.spatial.transform import Rotation, Slerp

from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.formats.nuscenes_tables import LIDAR_MOUNT
from admlops.conversion.formats.own_toml import UNITS_US, CameraSection, OwnData
from admlops.conversion.frames import Cuboid, Frame, Log, Pose, SceneFrames, SensorFile, WithoutMaps
from admlops.conversion.geometry import invert, split_matrix
from admlops.core.errors import DataError
from admlops.datasets.base import check_scene_names
from admlops.datasets.images.contents import natural_order
from admlops.datasets.images.headers import read_header

NUMBER = re.compile(r"\d+(?:\.\d+)?")
FIRST_US = 1_000_000
POSE_KEYS = ("timestamp", "x", "y", "z", "qw", "qx", "qy", "qz")
BOX_KEYS = ("category", "x", "y", "z", "width", "length", "height")


@dataclass(frozen=True, kw_only=True)
class FoldersRecording(WithoutMaps):
    """Scenes in folders below a root."""

    root: Path
    own: OwnData
    toml: Path
    form: str = "folders"
    version: str = ""

    @cached_property
    def _folders(self) -> dict[str, Path]:
        found = sorted(path for path in self.root.glob(self.own.scenes) if path.is_dir())
        if not found:
            raise self._wrong(f"scenes is {self.own.scenes!r}, and {self.root} has no such folder")
        return {path.relative_to(self.root).as_posix() or path.name: path for path in found}

    @property
    def scene_names(self) -> Sequence[str]:
        """A scene for each folder."""
        return list(self._folders)

    def find_categories(self) -> Sequence[str]:
        """Those that the TOML names."""
        return list(dict.fromkeys(self.own.categories.values()))

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes. Raises DataError: a file is missing or wrong."""
        check_scene_names(names, self._folders, self.root)
        for name in names:
            folder = self._folders[name]
            log = Log(logfile=name, location=self.own.location)
            frames = _Scene(self, name, folder).frames()
            yield SceneFrames(name=name.replace("/", "-"), token=make_token("scene", name), frames=frames, log=log)

    def _wrong(self, what: str) -> DataError:
        return DataError(f"{self.toml}: {what}", hint="docs/data-convert.md, 'Own data', says what each key means")


class _Scene:
    """One scene's folder."""

    def __init__(self, of: FoldersRecording, name: str, folder: Path) -> None:
        self._of, self._own, self._name, self._folder = of, of.own, name, folder
        self._cameras = {channel: self._calibrated(one) for channel, one in of.own.cameras.items()}
        self._files = {channel: self._list(one.files, f"cameras.{channel}") for channel, one in self._cameras.items()}
        if of.own.lidar is not None:
            self._files["LIDAR_TOP"] = self._list(of.own.lidar.files, "lidar")
        if not self._files:
            raise of._wrong("it names no camera and no lidar")

    def frames(self) -> list[Frame]:
        main = "LIDAR_TOP" if "LIDAR_TOP" in self._files else next(iter(self._files))
        times = [time for time, _ in self._files[main]]
        poses = self._poses(len(times))
        boxes = self._boxes(times)
        frames = []
        for number, time in enumerate(times):
            token = make_token("sample", self._name, time)
            place = poses(time, number)
            files = [self._sensor(channel, number, time, poses) for channel in self._files]
            frames.append(
                Frame(
                    token=token,
                    timestamp_us=time,
                    ego2global=place,
                    files=tuple(one for one in files if one is not None),
                    cuboids=None if boxes is None else self._cuboids(token, boxes.get(number, ()), place),
                )
            )
        return frames

    def _calibrated(self, camera: CameraSection) -> CameraSection:
        """A camera with what its calibration file says."""
        if not camera.calibration:
            return camera
        path = self._folder / camera.calibration
        if not path.is_file():
            path = self._of.root / camera.calibration
        try:
            told = msgspec.json.decode(path.read_bytes(), type=CameraSection)
        except (OSError, msgspec.MsgspecError) as error:
            raise self._of._wrong(f"calibration {path} cannot be read: {error}") from error
        return msgspec.structs.replace(told, files=camera.files, calibration="")

    def _list(self, pattern: str, key: str) -> list[tuple[int, Path]]:
        """Files with their times [µs], in time order."""
        paths = sorted(self._folder.glob(pattern), key=lambda path: natural_order(path.name)) if pattern else []
        if not paths:
            raise self._of._wrong(f"{key}.files is {pattern!r}, and {self._folder} has no such file")
        times = self._own.times
        if times.by == "order":
            return [(FIRST_US + round(1e6 * index / times.rate_hz), path) for index, path in enumerate(paths)]
        found = []
        for path in paths:
            numbers = NUMBER.findall(path.name.rpartition(".")[0])
            if not numbers:
                raise self._of._wrong(f'{path} has no time in its name; with times.by = "order" its place counts')
            found.append((_to_us(numbers[-1], times.unit), path))
        return sorted(found)

    def _sensor(self, channel: str, number: int, time: int, poses: _Poses) -> SensorFile | None:
        files = self._files[channel]
        if self._own.times.by == "order":
            if number >= len(files):
                return None
            at, path = files[number]
        else:
            at, path = min(files, key=lambda pair: abs(pair[0] - time))
            if abs(at - time) > 1e6 * self._own.times.max_gap_s:
                return None
        name = path.relative_to(self._of.root).as_posix()
        place = poses(at, number)
        if channel == "LIDAR_TOP":
            return self._lidar(name, path, at, place)
        camera, header = self._cameras[channel], read_header(path)
        if header is None:
            raise DataError(f"{path} is no picture", hint=f"file {path}")
        return SensorFile(
            channel=channel,
            modality="camera",
            name=name,
            path=path,
            timestamp_us=at,
            sensor2ego=camera.to_pose(),
            ego2global=place,
            width=header.stored[0],
            height=header.stored[1],
            intrinsic=camera.intrinsic,
            distortion=camera.distortion,
        )

    def _lidar(self, name: str, path: Path, at: int, place: Pose) -> SensorFile:
        """The LiDAR, its points in the frame of nuScenes' LiDAR, which models know."""
        lidar = self._own.lidar
        assert lidar is not None
        turn = invert(LIDAR_MOUNT.matrix) @ lidar.to_pose().matrix
        return SensorFile(
            channel="LIDAR_TOP",
            modality="lidar",
            name=name,
            path=path,
            timestamp_us=at,
            sensor2ego=LIDAR_MOUNT,
            ego2global=place,
            columns=lidar.columns,
            points_pose=Pose(*split_matrix(turn)),
        )

    def _poses(self, count: int) -> _Poses:
        section = self._own.poses
        if section is None:
            return _Standing()
        path = self._folder / section.file
        if section.form == "kitti":
            return _PosesByOrder(path, count)
        return _PosesInTime(path, self._own.times.unit)

    def _boxes(self, times: Sequence[int]) -> dict[int, list[dict[str, str]]] | None:
        """The rows of the boxes' file by frame; None where no boxes are named."""
        section = self._own.boxes
        if section is None:
            return None
        path = self._folder / section.file
        found: dict[int, list[dict[str, str]]] = {}
        for line, row in enumerate(_read_csv(path, BOX_KEYS), 2):
            if row.get("frame"):
                number = int(_number(row, "frame", path, line))
            elif row.get("timestamp"):
                at = _to_us(row["timestamp"], self._own.times.unit)
                number = min(range(len(times)), key=lambda index: abs(times[index] - at))
            else:
                raise DataError(f"{path}, line {line}, has neither frame nor timestamp", hint=f"sed -n {line}p {path}")
            if not 0 <= number < len(times):
                raise DataError(f"{path}, line {line}: there is no frame {number}", hint=f"sed -n {line}p {path}")
            found.setdefault(number, []).append({**row, "": f"{path}, line {line}"})
        return found

    def _cuboids(self, token: str, rows: Sequence[Mapping[str, str]], place: Pose) -> tuple[Cuboid, ...]:
        section, lidar = self._own.boxes, self._own.lidar
        assert section is not None
        above = np.eye(4) if section.frame == "global" else place.matrix
        if section.frame == "lidar" and lidar is not None:
            above = above @ lidar.to_pose().matrix
        return tuple(self._cuboid(token, number, row, above) for number, row in enumerate(rows))

    def _cuboid(self, token: str, number: int, row: Mapping[str, str], above: np.ndarray) -> Cuboid:
        where = row[""]

        def value(key: str) -> float:
            return _number(row, key, where)

        if row.get("qw"):
            turn: tuple[float, float, float, float] = (value("qw"), value("qx"), value("qy"), value("qz"))
        else:
            half = value("yaw") / 2
            turn = (float(np.cos(half)), 0.0, 0.0, float(np.sin(half)))
        size = (value("width"), value("length"), value("height"))
        if min(size) <= 0:
            raise DataError(f"{where}: a box has a side of {min(size):g} m", hint="mend the line")
        center, rotation = split_matrix(above @ Pose((value("x"), value("y"), value("z")), turn).matrix)
        category = row["category"]
        return Cuboid(
            token=make_token("annotation", token, number),
            category=self._own.categories.get(category, category),
            center=center,
            size_wlh=size,
            rotation_wxyz=rotation,
            track=f"{self._name}/{row['track']}" if row.get("track") else "",
            attributes=(row["attribute"],) if row.get("attribute") else (),
            visibility=int(value("visibility")) if row.get("visibility") else 0,
            lidar_points=int(value("points")) if row.get("points") else None,
        )


class _Poses(Protocol):
    """The vehicle's pose at a time [µs], or of a frame's number."""

    def __call__(self, at_us: int, number: int) -> Pose: ...


class _Standing:
    """No poses are known: the vehicle stands."""

    def __call__(self, at_us: int, number: int) -> Pose:
        return Pose((0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0))


class _PosesByOrder:
    """KITTI odometry's: a row of twelve numbers a frame."""

    def __init__(self, path: Path, count: int) -> None:
        try:
            rows = np.loadtxt(path, ndmin=2)
        except (OSError, ValueError) as error:
            raise DataError(f"{path} is no file of KITTI's poses: {error}", hint=f"head -1 {path}") from error
        if rows.shape[1] != 12 or len(rows) < count:
            raise DataError(
                f"{path} holds {rows.shape[0]} rows of {rows.shape[1]} numbers, and {count} rows of 12 are needed",
                hint=f"wc -l {path}",
            )
        self._rows = rows

    def __call__(self, at_us: int, number: int) -> Pose:
        matrix = np.eye(4)
        matrix[:3] = self._rows[number].reshape(3, 4)
        return Pose(*split_matrix(matrix))


class _PosesInTime:
    """A CSV's, interpolated; the first and the last are held before and after."""

    def __init__(self, path: Path, unit: str) -> None:
        rows = list(_read_csv(path, POSE_KEYS))
        if not rows:
            raise DataError(f"{path} holds no pose", hint=f"head {path}")
        times = np.array([_to_us(row["timestamp"], unit) for row in rows], np.int64)
        values = np.array([[_number(row, key, path, n) for key in POSE_KEYS[1:]] for n, row in enumerate(rows, 2)])
        self._times, order = np.unique(times, return_index=True)
        self._places = values[order, :3]
        turns = Rotation.from_quat(values[order][:, [4, 5, 6, 3]])
        seconds = (self._times - self._times[0]) / 1e6
        self._turn = Slerp(seconds, turns) if len(order) > 1 else None
        self._first = turns[0]

    def __call__(self, at_us: int, number: int) -> Pose:
        at = float(np.clip(at_us, self._times[0], self._times[-1]) - self._times[0]) / 1e6
        seconds = (self._times - self._times[0]) / 1e6
        x, y, z = (float(np.interp(at, seconds, self._places[:, axis])) for axis in range(3))
        turn = self._first if self._turn is None else self._turn(at)
        qx, qy, qz, qw = turn.as_quat(canonical=True).tolist()
        return Pose((x, y, z), (qw, qx, qy, qz))


def _read_csv(path: Path, keys: Sequence[str]) -> Iterator[dict[str, str]]:
    """The rows of a CSV with a head. Raises DataError: it lacks a column."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [key for key in keys if key not in (reader.fieldnames or ())]
            if missing:
                raise DataError(f"{path} has no column {missing[0]}", hint=f"head -1 {path}   # wants {','.join(keys)}")
            yield from reader
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read: {error}", hint=f"ls -l {path}") from error


def _number(row: Mapping[str, str], key: str, where: Path | str, line: int = 0) -> float:
    try:
        value = float(row[key])
    except (KeyError, TypeError, ValueError):
        value = np.nan
    if not np.isfinite(value):
        place = f"{where}, line {line}" if line else where
        raise DataError(f"{place}: {key} is {row.get(key)!r}, not a number", hint="mend the line")
    return value


def _to_us(text: str, unit: str) -> int:
    """A time as whole microseconds; whole numbers pass through no floating point."""
    try:
        if unit == "us" and "." not in text:
            return int(text)
        if unit == "ns" and "." not in text:
            return int(text) // 1000
        return round(float(text) * UNITS_US[unit])
    except ValueError as error:
        raise DataError(f"{text!r} is no time", hint="times are numbers, in the unit of times.unit") from error
