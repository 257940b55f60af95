"""nuScenes' tables, and T4's, which have the same names: read into scenes.

T4 (tier4_perception_dataset, docs/t4_format_3d_detailed.md) keeps them in `annotation/`, its LiDAR points in the
vehicle's frame (`base_link`), its visibilities as words, and lens distortion in `calibrated_sensor`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar, cast

import msgspec

from admlops.conversion.frames import (
    Cuboid,
    Frame,
    Log,
    MapMask,
    Modality,
    Pose,
    SceneFrames,
    SensorFile,
    Vector3,
)
from admlops.conversion.geometry import invert, split_matrix
from admlops.core.errors import DataError
from admlops.datasets.base import check_scene_names
from admlops.datasets.nuscenes.table_rows import Instance, Named
from admlops.datasets.nuscenes.table_stream import stream_rows

LIDAR_MOUNT = Pose((0.943713, 0.0, 1.84023), (0.7077955, -0.006492, 0.0106461, -0.7063073))
"""Where nuScenes' LiDAR sits (sensor calibration of v1.0-mini, scene-0061): of points that are in no sensor's frame."""
MODALITIES = ("camera", "lidar", "radar")
VISIBILITY_WORDS = {"none": 1, "partial": 2, "most": 3, "full": 4}
"""T4's levels as nuScenes' numbers, from the least visible on."""


class _Level(msgspec.Struct, gc=False):
    token: str
    level: str


class _Sensor(msgspec.Struct, gc=False):
    token: str
    channel: str
    modality: str


class _Calibrated(msgspec.Struct, gc=False):
    token: str
    sensor_token: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    camera_intrinsic: list[tuple[float, float, float]]
    camera_distortion: list[float] = []


class _EgoPose(msgspec.Struct, gc=False):
    token: str
    translation: tuple[float, float, float]
    rotation: tuple[float, float, float, float]


class _Log(msgspec.Struct, gc=False):
    token: str
    logfile: str = ""
    vehicle: str = ""
    date_captured: str = ""
    location: str = ""


class _Scene(msgspec.Struct, gc=False):
    token: str
    name: str
    log_token: str
    description: str = ""


class _Sample(msgspec.Struct, gc=False):
    token: str
    timestamp: int
    scene_token: str


class _Data(msgspec.Struct, gc=False):
    token: str
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    timestamp: int
    filename: str
    is_key_frame: bool
    width: int | None = None
    height: int | None = None


class _Annotation(msgspec.Struct, gc=False):
    token: str
    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    num_lidar_pts: int | None = None
    num_radar_pts: int | None = None
    visibility_token: str | None = None


class _Map(msgspec.Struct, gc=False):
    filename: str
    category: str = ""
    log_tokens: list[str] = []


@dataclass(frozen=True, kw_only=True)
class TableRecording:
    """The tables of one version, read whole; a scene's frames are made when they are asked for.

    Args:
        tables: the folder of the tables.
        points_in_ego: whether LiDAR points are in the vehicle's frame, whatever the calibration says: they are given
            in that of nuScenes' LiDAR, which models know.
        channels, categories: other names for channels and categories, by those in the tables.
    """

    root: Path
    tables: Path
    form: str = "nuscenes"
    sweeps: bool = False
    points_in_ego: bool = False
    channels: Mapping[str, str] = field(default_factory=dict)
    categories: Mapping[str, str] = field(default_factory=dict)
    FOLDERS: ClassVar[tuple[str, ...]] = ("maps", "can_bus")

    @property
    def version(self) -> str:
        """The tables' folder."""
        return self.tables.name

    @cached_property
    def _scenes(self) -> dict[str, _Scene]:
        return {row.name: row for row in stream_rows(self.tables, "scene", _Scene)}

    @property
    def scene_names(self) -> Sequence[str]:
        """Every scene, in table order."""
        return list(self._scenes)

    def scenes(self, names: Sequence[str]) -> Iterator[SceneFrames]:
        """Give the named scenes. Raises DataError: one is unknown, or a table is not whole."""
        check_scene_names(names, self._scenes, self.tables)
        wanted = {self._scenes[name].token for name in names}
        try:
            content = _Content(self, wanted)
            for name in names:
                yield content.scene(self._scenes[name])
        except KeyError as error:
            raise DataError(
                f"{self.tables}: a row refers to {error}, which is in none of the tables",
                hint="unpack the tables again",
            ) from error

    def logs(self) -> dict[str, Log]:
        """What scenes were cut from, by token."""
        return {
            row.token: Log(logfile=row.logfile, vehicle=row.vehicle, date=row.date_captured, location=row.location)
            for row in stream_rows(self.tables, "log", _Log)
        }

    def find_categories(self) -> Sequence[str]:
        """The categories, in table order."""
        names = [row.name for row in stream_rows(self.tables, "category", Named)]
        return [self.categories.get(name, name) for name in names]

    def find_maps(self) -> Sequence[MapMask]:
        """The maps' pictures that are there."""
        logs = self.logs()
        masks = []
        for row in stream_rows(self.tables, "map", _Map):
            places = dict.fromkeys(logs[token].location for token in row.log_tokens if token in logs)
            path = self.root / row.filename
            if row.filename and path.is_file():
                masks.append(MapMask(name=row.filename, path=path, category=row.category, locations=tuple(places)))
        return masks

    def find_folders(self) -> Mapping[str, Path]:
        """The maps and the CAN bus, where they are there."""
        return {name: self.root / name for name in self.FOLDERS if (self.root / name).is_dir()}


class _Content:
    """The rows of some scenes, by what they are asked for."""

    def __init__(self, of: TableRecording, scenes: set[str]) -> None:
        self._of = of
        folder = of.tables
        samples = [row for row in stream_rows(folder, "sample", _Sample) if row.scene_token in scenes]
        self._logs = of.logs()
        self._samples: dict[str, list[_Sample]] = defaultdict(list)
        for row in samples:
            self._samples[row.scene_token].append(row)
        tokens = {row.token for row in samples}
        self._sensors = {row.token: row for row in stream_rows(folder, "sensor", _Sensor)}
        self._calibrated = {row.token: row for row in stream_rows(folder, "calibrated_sensor", _Calibrated)}
        self._files: dict[str, list[_Data]] = defaultdict(list)
        poses: set[str] = set()
        for data in stream_rows(folder, "sample_data", _Data):
            if data.sample_token in tokens and (data.is_key_frame or of.sweeps):
                self._files[data.sample_token].append(data)
                poses.add(data.ego_pose_token)
        self._poses = {
            row.token: Pose(row.translation, row.rotation)
            for row in stream_rows(folder, "ego_pose", _EgoPose)
            if row.token in poses
        }
        self._mounts = {row.token: Pose(row.translation, row.rotation) for row in self._calibrated.values()}
        self._attributes = {row.token: row.name for row in stream_rows(folder, "attribute", Named)}
        self._levels = {row.token: _read_level(row) for row in stream_rows(folder, "visibility", _Level)}
        other = of.categories
        names = {row.token: other.get(row.name, row.name) for row in stream_rows(folder, "category", Named)}
        self._categories = {row.token: names[row.category_token] for row in stream_rows(folder, "instance", Instance)}
        self._annotations: dict[str, list[_Annotation]] = defaultdict(list)
        for annotation in stream_rows(folder, "sample_annotation", _Annotation):
            if annotation.sample_token in tokens:
                self._annotations[annotation.sample_token].append(annotation)

    def scene(self, row: _Scene) -> SceneFrames:
        ordered = sorted(self._samples[row.token], key=lambda sample: sample.timestamp)
        return SceneFrames(
            name=row.name,
            token=row.token,
            description=row.description,
            log=self._logs.get(row.log_token, Log()),
            frames=[self._frame(sample) for sample in ordered],
        )

    def _frame(self, sample: _Sample) -> Frame:
        files = tuple(self._file(row) for row in self._files[sample.token])
        keys = [one for one in files if one.is_key]
        lidar = next((one for one in keys if one.modality == "lidar"), None) or (keys[0] if keys else None)
        return Frame(
            token=sample.token,
            timestamp_us=sample.timestamp,
            ego2global=None if lidar is None else lidar.ego2global,
            files=files,
            cuboids=tuple(self._cuboid(row) for row in self._annotations[sample.token]),
        )

    def _file(self, row: _Data) -> SensorFile:
        calibrated = self._calibrated[row.calibrated_sensor_token]
        sensor = self._sensors[calibrated.sensor_token]
        modality = sensor.modality if sensor.modality in MODALITIES else "radar"
        mount, points_pose = self._mounts[calibrated.token], None
        if modality == "lidar" and self._of.points_in_ego:
            mount, points_pose = LIDAR_MOUNT, Pose(*split_matrix(invert(LIDAR_MOUNT.matrix)))
        rows = calibrated.camera_intrinsic
        return SensorFile(
            channel=self._of.channels.get(sensor.channel, sensor.channel),
            modality=cast("Modality", modality),
            name=row.filename,
            path=self._of.root / row.filename,
            timestamp_us=row.timestamp,
            sensor2ego=mount,
            ego2global=self._poses[row.ego_pose_token],
            width=row.width or 0,
            height=row.height or 0,
            intrinsic=cast("tuple[Vector3, Vector3, Vector3]", tuple(rows)) if len(rows) == 3 else None,
            distortion=tuple(calibrated.camera_distortion),
            points_pose=points_pose,
            is_key=row.is_key_frame,
            token=row.token,
        )

    def _cuboid(self, row: _Annotation) -> Cuboid:
        return Cuboid(
            token=row.token,
            category=self._categories[row.instance_token],
            center=row.translation,
            size_wlh=row.size,
            rotation_wxyz=row.rotation,
            track=row.instance_token,
            attributes=tuple(self._attributes[token] for token in row.attribute_tokens),
            visibility=self._levels.get(row.visibility_token or "", 0),
            lidar_points=row.num_lidar_pts,
            radar_points=row.num_radar_pts,
        )


def _read_level(row: _Level) -> int:
    """The level as a number; nuScenes' tokens are numbers themselves."""
    return int(row.token) if row.token in ("1", "2", "3", "4") else VISIBILITY_WORDS.get(row.level.lower(), 0)
