"""Scalabel's frames with boxes in space, of one video camera or several.

`box3d` is in the camera's frame: `location` is the box's centre [m], `dimension` height, width, length [m],
`orientation` turns about x, y, z [rad], of which the one about y counts, as KITTI's. `extrinsics` of a frame are taken
for the vehicle's pose, which is what Scalabel's own conversion of nuScenes writes: a place and a rotation vector.

Source: scalabel, label/typing.py and label/from_nuscenes.py.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import msgspec
import numpy as np
from scipy.spatial.transform import Rotation

from admlops.conversion.formats.nuscenes_names import make_token
from admlops.conversion.formats.own_toml import CameraSection, OwnData
from admlops.conversion.frames import (
    IDENTITY,
    Box2D,
    Cuboid,
    Frame,
    Pose,
    SceneFrames,
    SensorFile,
    Vector3,
    WithoutMaps,
)
from admlops.conversion.geometry import split_matrix
from admlops.core.errors import DataError
from admlops.datasets.base import check_scene_names
from admlops.datasets.images.finder import PictureFinder
from admlops.datasets.images.headers import read_header

ALL = "frames"


class _Box2D(msgspec.Struct):
    x1: float
    y1: float
    x2: float
    y2: float


class _Box3D(msgspec.Struct):
    location: Vector3
    dimension: Vector3
    orientation: Vector3


class _Label(msgspec.Struct):
    id: str | int = ""
    category: str = ""
    box2d: _Box2D | None = None
    box3d: _Box3D | None = None


class _Intrinsics(msgspec.Struct):
    focal: tuple[float, float]
    center: tuple[float, float]
    skew: float = 0.0


class _Extrinsics(msgspec.Struct):
    location: Vector3
    rotation: Vector3


class _Frame(msgspec.Struct):
    name: str
    videoName: str = ""  # noqa: N815  the file's own key
    frameIndex: int | None = None  # noqa: N815  the file's own key
    timestamp: int | None = None
    intrinsics: _Intrinsics | None = None
    extrinsics: _Extrinsics | None = None
    labels: list[_Label] | None = None


class _Whole(msgspec.Struct):
    frames: list[_Frame]


@dataclass(frozen=True, kw_only=True)
class ScalabelRecording(WithoutMaps):
    """A file of frames; its pictures lie below the root. A frame is a moment of the camera that the TOML names."""

    root: Path
    own: OwnData
    form: str = "scalabel"
    version: str = ""

    @cached_property
    def _videos(self) -> dict[str, list[_Frame]]:
        path = self.root / self.own.labels
        try:
            content = path.read_bytes()
            is_whole = content.lstrip()[:1] == b"{"
            frames = (
                msgspec.json.decode(content, type=_Whole).frames
                if is_whole
                else msgspec.json.decode(content, type=list[_Frame])
            )
        except (OSError, msgspec.MsgspecError) as error:
            raise DataError(f"{path} is not Scalabel's form: {error}", hint=f"head -c 300 {path}") from error
        videos: dict[str, list[_Frame]] = {}
        for frame in frames:
            videos.setdefault(frame.videoName or ALL, []).append(frame)
        return videos

    @cached_property
    def _finder(self) -> PictureFinder:
        return PictureFinder(self.root)

    @property
    def scene_names(self) -> Sequence[str]:
        """A scene for each video."""
        return list(self._videos)

    def find_categories(self) -> Sequence[str]:
        """Those that the TOML names."""
        return list(dict.fromkeys(self.own.categories.values()))

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named videos."""
        check_scene_names(names, self._videos, self.root)
        for name in names:
            rows = sorted(self._videos[name], key=lambda row: (row.frameIndex or 0, row.name))
            frames = [self._frame(name, number, row) for number, row in enumerate(rows)]
            yield SceneFrames(name=name, token=make_token("scene", name), frames=frames, is_sequence=name != ALL)

    def _frame(self, video: str, number: int, row: _Frame) -> Frame:
        path = self.root / self.own.labels
        found = self._finder.find_or_name(f"{row.videoName}/{row.name}".lstrip("/"), where=path)
        assert found.path is not None
        header = read_header(found.path)
        if header is None:
            raise DataError(f"{path} names {row.name}, and {found.path} is no picture", hint=f"ls -l {found.path}")
        place = IDENTITY if row.extrinsics is None else _to_pose(row.extrinsics)
        time = row.timestamp if row.timestamp is not None else 1_000_000 + round(1e6 * number / self.own.times.rate_hz)
        camera = self.own.cameras.get(self.own.camera, CameraSection())
        intrinsic = camera.intrinsic
        if row.intrinsics is not None:
            (fx, fy), (cx, cy) = row.intrinsics.focal, row.intrinsics.center
            intrinsic = ((fx, row.intrinsics.skew, cx), (0.0, fy, cy), (0.0, 0.0, 1.0))
        file = SensorFile(
            channel=self.own.camera,
            modality="camera",
            name=found.name,
            path=found.path,
            timestamp_us=time,
            sensor2ego=camera.to_pose(),
            ego2global=place,
            width=header.stored[0],
            height=header.stored[1],
            intrinsic=intrinsic,
            distortion=camera.distortion,
        )
        token = make_token("sample", video, number, row.name)
        labels = row.labels or []
        to_global = place.matrix @ camera.to_pose().matrix
        cuboids = tuple(
            self._cuboid(token, video, index, one, one.box3d, to_global)
            for index, one in enumerate(labels)
            if one.box3d is not None
        )
        flat = tuple(self._box(one, one.box2d) for one in labels if one.box2d is not None)
        return Frame(
            token=token,
            timestamp_us=time,
            ego2global=place,
            files=(file,),
            cuboids=None if row.labels is None else cuboids,
            boxes_2d={self.own.camera: flat} if row.labels is not None else {},
        )

    def _cuboid(self, token: str, video: str, index: int, label: _Label, box: _Box3D, to_global: np.ndarray) -> Cuboid:
        height, width, length = box.dimension
        matrix = np.eye(4)
        matrix[:3, 3] = box.location
        turn = box.orientation[1]
        # Length along x at 0, height up: against the camera's y.
        matrix[:3, :3] = Rotation.from_euler("y", turn).as_matrix() @ [[1, 0, 0], [0, 0, -1], [0, 1, 0]]
        center, rotation = split_matrix(to_global @ matrix)
        return Cuboid(
            token=make_token("annotation", token, index),
            category=self.own.categories.get(label.category, label.category),
            center=center,
            size_wlh=(width, length, height),
            rotation_wxyz=rotation,
            track=f"{video}/{label.id}" if label.id != "" else "",
        )

    def _box(self, label: _Label, box: _Box2D) -> Box2D:
        return Box2D(
            xyxy=(box.x1, box.y1, box.x2 + 1, box.y2 + 1),
            category=self.own.categories.get(label.category, label.category),
            track=str(label.id),
        )


def _to_pose(extrinsics: _Extrinsics) -> Pose:
    x, y, z, w = Rotation.from_rotvec(extrinsics.rotation).as_quat(canonical=True).tolist()
    return Pose(extrinsics.location, (w, x, y, z))
