"""OpenLane-V2 frames, read with the standard library: samples in the form that adapters get.

A data set is a folder with `data_dict_<version>.json`, which lists the frames of each split by segment, and for each of
them `<split>/<segment>/info/<timestamp>.json`: cameras, pose and, outside the test split, the annotation, which is not
read here. Version is `subset_A` (Argoverse 2: seven cameras, the front one upright) or `subset_B` (nuScenes: six).

A segment is a scene and is called `<split>-<segment>`; a frame is a sample, its token `<split>-<segment>-<timestamp>`.
Frame of reference: the ego vehicle of the source data set, x forward, y left, z up, metres; a frame has one pose, which
all its cameras share.
"""

import json
import math
import os
import struct
from typing import Any, Dict, List, Optional, Sequence, Tuple

from .errors import DataError
from .form import make_camera, make_pose, make_sample, make_sensor

PREFIX = "data_dict_"
SUFFIX = ".json"
NANOSECONDS_FROM = 10**17
"""Timestamps from here on are nanoseconds, as Argoverse 2 writes them; smaller ones microseconds, as nuScenes does."""

Row = Dict[str, Any]


def list_versions(dataroot: str) -> List[str]:
    """The versions that a folder holds: `subset_A`, …; empty if it is no OpenLane-V2 data set."""
    try:
        names = sorted(os.listdir(dataroot))
    except OSError:
        return []
    return [name[len(PREFIX) : -len(SUFFIX)] for name in names if name.startswith(PREFIX) and name.endswith(SUFFIX)]


class OpenLane:
    """The frames of one version.

    Raises:
        DataError: the list of frames is missing or is not one; from the methods: a frame is missing or not whole.
    """

    def __init__(self, dataroot: str, version: str) -> None:
        self.dataroot = os.path.abspath(dataroot)
        self.version = version
        self.splits = _read_list(os.path.join(self.dataroot, PREFIX + version + SUFFIX))
        self._scenes = {
            "{}-{}".format(split, segment): (split, segment)
            for split, segments in self.splits.items()
            for segment in segments
        }
        self._sizes = {}  # type: Dict[Tuple[str, str], Tuple[int, int]]

    def scene_names(self) -> List[str]:
        """The scenes' names, in the list's order."""
        return list(self._scenes)

    def samples_of_scene(self, name: str) -> List[str]:
        """The sample tokens of a scene in time order. Raises DataError for an unknown name."""
        split, segment = self._scene(name)
        return ["{}-{}".format(name, stamp) for stamp in self.splits[split][segment]]

    def info_path(self, token: str) -> str:
        """The file that describes a frame. Raises DataError for an unknown token."""
        name, stamp = self._find(token)
        split, segment = self._scenes[name]
        return os.path.join(self.dataroot, split, segment, "info", stamp + SUFFIX)

    def sample(self, token: str, info: Optional[Row] = None) -> Row:
        """Return one frame as an adapter gets it; docs/architecture.md shows the shape. There is no LiDAR.

        Args:
            info: the frame's description, if the caller has read it.
        """
        name, stamp = self._find(token)
        path = self.info_path(token)
        content = read_json(path) if info is None else info
        try:
            pose = _pose(content["pose"])
            cameras = {
                camera: self._camera(name, camera, sensor, stamp, pose) for camera, sensor in content["sensor"].items()
            }
        except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
            raise DataError("{} is not a frame of OpenLane-V2: {!r}".format(path, error)) from error
        split, segment = self._scenes[name]
        return make_sample(
            token,
            scene=name,
            scene_token=segment,
            index_in_scene=self.splits[split][segment].index(stamp),
            timestamp_us=_microseconds(stamp),
            ego2global=pose,
            cameras=cameras,
        )

    def _camera(self, scene: str, name: str, sensor: Row, stamp: str, pose: Row) -> Row:
        path = os.path.join(self.dataroot, sensor["image_path"])
        width, height = self._size(scene, name, path)
        file = make_sensor(path, _microseconds(stamp), sensor2ego=_pose(sensor["extrinsic"]), ego2global=pose)
        return make_camera(file, width=width, height=height, intrinsic=_matrix(sensor["intrinsic"]["K"]))

    def _size(self, scene: str, camera: str, path: str) -> Tuple[int, int]:
        """Width and height [pixels]: read of one picture a scene and camera; zeros while none can be read."""
        key = (scene, camera)
        if key not in self._sizes:
            size = jpeg_size(path)
            if size is None:
                return 0, 0
            self._sizes[key] = size
        return self._sizes[key]

    def _scene(self, name: str) -> Tuple[str, str]:
        if name not in self._scenes:
            raise DataError("{} has no scene {!r}".format(self._where(), name))
        return self._scenes[name]

    def _find(self, token: str) -> Tuple[str, str]:
        name, _, stamp = token.rpartition("-")
        split, segment = self._scenes.get(name, ("", ""))
        if stamp not in self.splits.get(split, {}).get(segment, ()):
            raise DataError("{} has no sample {!r}".format(self._where(), token))
        return name, stamp

    def _where(self) -> str:
        return os.path.join(self.dataroot, PREFIX + self.version + SUFFIX)


def find_version(dataroot: str, token: str) -> str:
    """The version that lists the frame `token`. Raises DataError if none does."""
    for version in list_versions(dataroot):
        frames = OpenLane(dataroot, version)
        name, _, _ = token.rpartition("-")
        if name in frames.scene_names() and token in frames.samples_of_scene(name):
            return version
    raise DataError("{} has no sample {!r}".format(dataroot, token))


def read_json(path: str) -> Row:
    """An object from a JSON file. Raises DataError if it is missing or holds something else."""
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
    except FileNotFoundError:
        raise DataError("{} is missing".format(path)) from None
    except OSError as error:
        raise DataError("{} cannot be read: {}".format(path, error.strerror)) from error
    except ValueError as error:
        raise DataError("{} is not whole JSON: {}".format(path, error)) from error
    if not isinstance(content, dict):
        raise DataError("{} holds no object".format(path))
    return content


def jpeg_size(path: str) -> Optional[Tuple[int, int]]:
    """Width and height [pixels] of a JPEG file, from its frame header; None if there is none to be read."""
    try:
        with open(path, "rb") as file:
            if file.read(2) != b"\xff\xd8":
                return None
            while True:
                marker, length = struct.unpack(">HH", file.read(4))
                if 0xFFC0 <= marker <= 0xFFCF and marker not in (0xFFC4, 0xFFC8, 0xFFCC):
                    _, height, width = struct.unpack(">BHH", file.read(5))
                    return int(width), int(height)
                file.seek(length - 2, os.SEEK_CUR)
    except (OSError, struct.error):
        return None


def quaternion(matrix: Sequence[Sequence[float]]) -> List[float]:
    """The unit quaternion w, x, y, z of a rotation matrix (3, 3).

    Source: S. W. Shepperd, Quaternion from rotation matrix, Journal of Guidance and Control 1 (1978): the largest of
    the four is found first, so that no digits are lost.
    """
    (a, b, c), (d, e, f), (g, h, i) = matrix
    squares = (1 + a + e + i, 1 + a - e - i, 1 - a + e - i, 1 - a - e + i)
    largest = max(range(4), key=lambda index: squares[index])
    double = math.sqrt(squares[largest])
    products = (
        (squares[0], h - f, c - g, d - b),
        (h - f, squares[1], d + b, c + g),
        (c - g, d + b, squares[2], h + f),
        (d - b, c + g, h + f, squares[3]),
    )[largest]
    found = [value / (2 * double) for value in products]
    norm = math.sqrt(sum(value * value for value in found))
    return [value / norm for value in found]


def _read_list(path: str) -> Dict[str, Dict[str, List[str]]]:
    """Split → segment → timestamps in order, without the file names' endings."""
    content = read_json(path)
    try:
        return {
            str(split): {
                str(segment): sorted((name.split(".")[0] for name in names), key=int)
                for segment, names in segments.items()
            }
            for split, segments in content.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError("{} is not a list of frames by split and segment: {}".format(path, error)) from error


def _pose(row: Row) -> Row:
    x, y, z = (float(value) for value in row["translation"])
    if not all(math.isfinite(value) for value in (x, y, z)):
        raise ValueError("a translation is not finite: {}".format([x, y, z]))
    return make_pose([x, y, z], quaternion(_matrix(row["rotation"])))


def _matrix(rows: Any) -> List[List[float]]:
    matrix = [[float(value) for value in row] for row in rows]
    if [len(row) for row in matrix] != [3, 3, 3]:
        raise ValueError("a matrix is not 3 x 3")
    if not all(math.isfinite(value) for row in matrix for value in row):
        raise ValueError("a matrix is not finite: {}".format(matrix))
    return matrix


def _microseconds(stamp: str) -> int:
    value = int(stamp)
    return value // 1000 if value >= NANOSECONDS_FROM else value
