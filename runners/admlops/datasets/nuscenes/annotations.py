"""The annotations of chosen samples as arrays, straight from the tables: what evaluation needs of a data set.

`NuScenes` answers questions about single samples and keeps whole tables in memory for that. Evaluation asks one
question about thousands of samples, of tables of gigabytes; it reads each table once, and keeps what it needs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import numpy as np

from admlops.core.errors import DataError
from admlops.datasets.annotations import Annotations, Floats, SampleScene
from admlops.datasets.nuscenes.table_rows import (
    Annotation,
    Calibrated,
    EgoPose,
    Instance,
    Log,
    Named,
    Sample,
    SampleDataLink,
    Scene,
    Sensor,
)
from admlops.datasets.nuscenes.table_stream import stream_rows

MAX_VELOCITY_GAP_S = 1.5
LIDAR = "LIDAR_TOP"
UNPACK = "unpack the tables there again"


def read_annotations(root: Path, version: str, tokens: Sequence[str], *, following: int = 0) -> Annotations:
    """The annotations of the samples `tokens`, in that order.

    Args:
        following: also read so many samples after each of these; those that are not in `tokens` come after them.

    Raises:
        DataError: a table is missing or damaged, or a token is of no sample.
    """
    folder = root / version
    samples = {row.token: row for row in stream_rows(folder, "sample", Sample)}
    for token in tokens:
        if token not in samples:
            raise DataError(
                f"{folder} has no sample {token!r}",
                hint="pass the --data and --version that the run was made with",
            )
    tokens = _with_following(tokens, samples, following)
    index = {token: number for number, token in enumerate(tokens)}
    near = {samples[token].scene_token for token in tokens}
    rows = {
        row.token: row
        for row in stream_rows(folder, "sample_annotation", Annotation)
        if row.sample_token in samples and samples[row.sample_token].scene_token in near
    }
    velocities = {row.token: _velocity(row, rows, samples) for row in rows.values() if row.sample_token in index}
    chosen = sorted((rows[token] for token in velocities), key=lambda row: index[row.sample_token])
    place = {row.token: number for number, row in enumerate(chosen)}
    categories = _categories(folder)
    attributes = {row.token: row.name for row in stream_rows(folder, "attribute", Named)}
    poses = _read_poses(folder, index)
    scenes = _scenes(folder)
    return Annotations(
        samples=tuple(tokens),
        scenes=[scenes[samples[token].scene_token] for token in tokens],
        ego=poses[:, :3],
        ego_rotation=poses[:, 3:7],
        lidar=poses[:, 7:10],
        lidar_rotation=poses[:, 10:],
        next_sample=np.array([index.get(samples[token].next, -1) for token in tokens], dtype=np.int32),
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
        next_row=np.array([place.get(row.next, -1) for row in chosen], dtype=np.int32),
    )


def _with_following(tokens: Sequence[str], samples: Mapping[str, Sample], steps: int) -> list[str]:
    wanted = dict.fromkeys(tokens)
    for token in tokens:
        later = token
        for _ in range(steps):
            later = samples[later].next
            if later not in samples:
                break
            wanted.setdefault(later)
    return list(wanted)


def _read_poses(folder: Path, index: Mapping[str, int]) -> Floats:
    """(S, 14): of each sample the ego pose at its LiDAR key frame and the LiDAR's pose in the ego frame."""
    sensors = {row.token for row in stream_rows(folder, "sensor", Sensor) if row.channel == LIDAR}
    lidars = {row.token: row for row in stream_rows(folder, "calibrated_sensor", Calibrated)}
    lidars = {token: row for token, row in lidars.items() if row.sensor_token in sensors}
    poses = np.full((len(index), 14), np.nan)
    wanted: dict[str, int] = {}
    for row in stream_rows(folder, "sample_data", SampleDataLink):
        lidar = lidars.get(row.calibrated_sensor_token)
        if lidar is not None and row.is_key_frame and row.sample_token in index:
            sample = wanted[row.ego_pose_token] = index[row.sample_token]
            poses[sample, 7:] = (*lidar.translation, *lidar.rotation)
    if missing := [token for token, sample in index.items() if np.isnan(poses[sample, 7])]:
        raise DataError(f"sample {min(missing)} has no {LIDAR} key frame in {folder}", hint=UNPACK)
    for pose in stream_rows(folder, "ego_pose", EgoPose):
        if pose.token in wanted:
            place = (*msgspec.json.decode(pose.translation), *msgspec.json.decode(pose.rotation))
            poses[wanted[pose.token], :7] = place
    if np.isnan(poses).any():
        raise DataError(f"{folder / 'ego_pose.json'} lacks poses", hint=UNPACK)
    return poses


def _velocity(row: Annotation, rows: dict[str, Annotation], samples: dict[str, Sample]) -> tuple[float, float]:
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
    names = {row.token: row.name for row in stream_rows(folder, "category", Named)}
    return {row.token: names[row.category_token] for row in stream_rows(folder, "instance", Instance)}


def read_scenes(root: Path, version: str) -> dict[str, SampleScene]:
    """Every scene by its name.

    Raises:
        DataError: a table is missing or damaged.
    """
    return {scene.name: scene for scene in _scenes(root / version).values()}


def _scenes(folder: Path) -> dict[str, SampleScene]:
    """Scene token → scene."""
    locations = {row.token: row.location for row in stream_rows(folder, "log", Log)}
    return {
        row.token: SampleScene(name=row.name, description=row.description, location=locations.get(row.log_token, ""))
        for row in stream_rows(folder, "scene", Scene)
    }


def _level(token: str) -> int:
    """nuScenes' visibility tokens are the levels themselves, 1 to 4."""
    return int(token) if token in ("1", "2", "3", "4") else 0


def _columns(rows: Sequence[Sequence[float]], width: int) -> Floats:
    return np.array(rows, dtype=np.float64).reshape(-1, width)
