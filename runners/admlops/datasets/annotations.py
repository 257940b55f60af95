"""The annotations of chosen samples as arrays, straight from the tables: what evaluation needs of a data set.

`NuScenes` answers questions about single samples and keeps whole tables in memory for that. Evaluation asks one
question about thousands of samples, of tables of gigabytes; it reads each table once, and keeps what it needs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.datasets.table_stream import stream_rows
from admlops.errors import DataError

MAX_VELOCITY_GAP_S = 1.5
LIDAR = "LIDAR_TOP"

Floats = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class SampleScene:
    """The scene of a sample: `description` is the annotators' remark, `location` the map."""

    name: str
    description: str
    location: str


@dataclass(frozen=True, kw_only=True)
class Annotations:
    """S samples and their N annotated objects, in the global frame. Rows are in sample order, then table order.

    Attributes:
        samples: (S) tokens, as asked for.
        scenes: (S) the scene of each.
        ego: (S, 3) position of the ego vehicle [m]: the ego pose of LIDAR_TOP's key frame.
        ego_rotation: (S, 4) quaternion w x y z from the ego frame to the global frame.
        tokens: (N) annotation tokens.
        sample: (N,) index into `samples`.
        category: (N) full category name, such as `vehicle.car`.
        attribute: (N) attribute name, empty for none.
        center, size: (N, 3) [m]; size is width, length, height.
        rotation: (N, 4) quaternion w x y z.
        velocity: (N, 2) [m/s], NaN where unknown.
        points: (N,) LiDAR and radar points in the box.
        visibility: (N,) level 1 to 4, 0 where none is stated.
    """

    samples: Sequence[str]
    scenes: Sequence[SampleScene]
    ego: Floats
    ego_rotation: Floats
    tokens: Sequence[str]
    sample: NDArray[np.int32]
    category: Sequence[str]
    attribute: Sequence[str]
    center: Floats
    size: Floats
    rotation: Floats
    velocity: Floats
    points: NDArray[np.int32]
    visibility: NDArray[np.int8]


class _Named(msgspec.Struct, gc=False):
    token: str
    name: str


class _Sensor(msgspec.Struct, gc=False):
    token: str
    channel: str


class _Calibrated(msgspec.Struct, gc=False):
    token: str
    sensor_token: str


class _Log(msgspec.Struct, gc=False):
    token: str
    location: str


class _Scene(msgspec.Struct, gc=False):
    token: str
    name: str
    log_token: str
    description: str = ""


class _Instance(msgspec.Struct, gc=False):
    token: str
    category_token: str


class _Sample(msgspec.Struct, gc=False):
    token: str
    timestamp: int
    scene_token: str


class _SampleData(msgspec.Struct, gc=False):
    sample_token: str
    ego_pose_token: str
    calibrated_sensor_token: str
    is_key_frame: bool


class _EgoPose(msgspec.Struct, gc=False):
    token: str
    translation: msgspec.Raw
    rotation: msgspec.Raw


class _Annotation(msgspec.Struct, gc=False):
    token: str
    sample_token: str
    instance_token: str
    attribute_tokens: list[str]
    translation: tuple[float, float, float]
    size: tuple[float, float, float]
    rotation: tuple[float, float, float, float]
    prev: str
    next: str
    num_lidar_pts: int
    num_radar_pts: int
    visibility_token: str = ""


def read_annotations(root: Path, version: str, tokens: Sequence[str]) -> Annotations:
    """The annotations of the samples `tokens`, in that order.

    Raises:
        DataError: a table is missing or damaged, or a token is of no sample.
    """
    folder = root / version
    samples = {row.token: row for row in stream_rows(folder, "sample", _Sample)}
    for token in tokens:
        if token not in samples:
            raise DataError(
                f"{folder} has no sample {token!r}",
                hint="pass the --data and --version that the run was made with",
            )
    index = {token: number for number, token in enumerate(tokens)}
    ego, ego_rotation = _ego_poses(folder, index)
    near = {samples[token].scene_token for token in tokens}
    rows = {
        row.token: row
        for row in stream_rows(folder, "sample_annotation", _Annotation)
        if row.sample_token in samples and samples[row.sample_token].scene_token in near
    }
    velocities = {row.token: _velocity(row, rows, samples) for row in rows.values() if row.sample_token in index}
    chosen = sorted((rows[token] for token in velocities), key=lambda row: index[row.sample_token])
    categories = _categories(folder)
    attributes = {row.token: row.name for row in stream_rows(folder, "attribute", _Named)}
    return Annotations(
        samples=tuple(tokens),
        scenes=_scenes(folder, [samples[token].scene_token for token in tokens]),
        ego=ego,
        ego_rotation=ego_rotation,
        tokens=[row.token for row in chosen],
        sample=np.array([index[row.sample_token] for row in chosen], dtype=np.int32),
        category=[categories[row.instance_token] for row in chosen],
        attribute=[attributes[row.attribute_tokens[0]] if row.attribute_tokens else "" for row in chosen],
        center=_columns([row.translation for row in chosen], 3),
        size=_columns([row.size for row in chosen], 3),
        rotation=_columns([row.rotation for row in chosen], 4),
        velocity=_columns([velocities[row.token] for row in chosen], 2),
        points=np.array([row.num_lidar_pts + row.num_radar_pts for row in chosen], dtype=np.int32),
        visibility=np.array([_level(row.visibility_token) for row in chosen], dtype=np.int8),
    )


def _ego_poses(folder: Path, index: dict[str, int]) -> tuple[Floats, Floats]:
    """Position and rotation of the ego vehicle at the LiDAR key frame of each sample."""
    sensors = {row.token for row in stream_rows(folder, "sensor", _Sensor) if row.channel == LIDAR}
    lidars = {row.token for row in stream_rows(folder, "calibrated_sensor", _Calibrated) if row.sensor_token in sensors}
    wanted = {
        row.ego_pose_token: row.sample_token
        for row in stream_rows(folder, "sample_data", _SampleData)
        if row.is_key_frame and row.sample_token in index and row.calibrated_sensor_token in lidars
    }
    missing = set(index) - set(wanted.values())
    if missing:
        raise DataError(
            f"sample {min(missing)} has no {LIDAR} key frame in {folder}", hint="unpack the tables there again"
        )
    position, rotation = np.full((len(index), 3), np.nan), np.full((len(index), 4), np.nan)
    for row in stream_rows(folder, "ego_pose", _EgoPose):
        sample = wanted.get(row.token)
        if sample is not None:
            position[index[sample]] = msgspec.json.decode(row.translation)
            rotation[index[sample]] = msgspec.json.decode(row.rotation)
    if np.isnan(position).any():
        raise DataError(f"{folder / 'ego_pose.json'} lacks poses", hint="unpack the tables there again")
    return position, rotation


def _velocity(row: _Annotation, rows: dict[str, _Annotation], samples: dict[str, _Sample]) -> tuple[float, float]:
    """Centred difference of positions [m/s], as nuscenes-devkit's `box_velocity`; NaN where it is not known.

    The times are made seconds before they are subtracted: the devkit's rounding, 10⁻⁷ s, is part of its numbers.
    """
    first, last = rows.get(row.prev, row), rows.get(row.next, row)
    if first is last:
        return (np.nan, np.nan)
    gap_s = 1e-6 * samples[last.sample_token].timestamp - 1e-6 * samples[first.sample_token].timestamp
    allowed_s = MAX_VELOCITY_GAP_S * (2 if first is not row and last is not row else 1)
    if gap_s > allowed_s or gap_s == 0:
        return (np.nan, np.nan)
    return (
        (last.translation[0] - first.translation[0]) / gap_s,
        (last.translation[1] - first.translation[1]) / gap_s,
    )


def _categories(folder: Path) -> dict[str, str]:
    """Instance → category name."""
    names = {row.token: row.name for row in stream_rows(folder, "category", _Named)}
    return {row.token: names[row.category_token] for row in stream_rows(folder, "instance", _Instance)}


def _scenes(folder: Path, tokens: Sequence[str]) -> list[SampleScene]:
    locations = {row.token: row.location for row in stream_rows(folder, "log", _Log)}
    scenes = {
        row.token: SampleScene(name=row.name, description=row.description, location=locations.get(row.log_token, ""))
        for row in stream_rows(folder, "scene", _Scene)
    }
    return [scenes[token] for token in tokens]


def _level(token: str) -> int:
    """nuScenes' visibility tokens are the levels themselves, 1 to 4."""
    return int(token) if token in ("1", "2", "3", "4") else 0


def _columns(rows: Sequence[Sequence[float]], width: int) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, width)
