"""Build the sample index: one file, mapped by `worker.samples.sample_index`, of all tables of a version."""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from admlops.core.counting import count_of
from admlops.core.errors import DataError
from admlops.core.storage import explain_os_error, file_sha256
from admlops.core.types import Say
from admlops.datasets.nuscenes.can_bus import CanBus
from admlops.datasets.nuscenes.table_rows import Calibrated, EgoPose, Log, Number, Sample, SampleData, Scene, Sensor
from admlops.datasets.nuscenes.table_stream import stream_rows
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.worker.samples.form import make_camera, make_pose, make_sample, make_sensor
from admlops.worker.samples.nuscenes import CAMERAS, LIDAR
from admlops.worker.samples.openlane import list_versions
from admlops.worker.samples.sample_index import FILE_NAME, LENGTH, MAGIC, ORDER, PLACE, SCHEMA

LIDAR_SWEEPS = 10
CAMERA_SWEEPS = 6
"""How many earlier frames a context holds: as many as the models here look back."""
DRIVEN_BEFORE, DRIVEN_AFTER = 2, 6
"""How many neighbouring key frames' places it holds: 1 s back, 3 s ahead."""
CHANNELS = (LIDAR, *CAMERAS)
ALIGNMENT = 8
TABLES = ("scene", "sample", "sample_data", "calibrated_sensor", "sensor", "ego_pose", "log")


@dataclass(frozen=True, slots=True)
class _Frame:
    """One file of one sensor."""

    timestamp: int
    sample: str
    is_key: bool
    filename: str
    pose: str
    calibrated: str
    size: tuple[int, int] | None


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What the tables hold, arranged for one pass over the samples.

    `frames` is by scene token, then by channel; `keys` by channel, then by sample token: the key frame among them.
    """

    samples: Mapping[str, Sample]
    scenes: Sequence[Scene]
    locations: Mapping[str, str]
    calibrated: Mapping[str, Calibrated]
    frames: Mapping[str, Mapping[str, list[_Frame]]]
    keys: Mapping[str, Mapping[str, int]]
    poses: Mapping[str, tuple[list[Number], list[Number]]]


@dataclass(frozen=True, kw_only=True)
class Built:
    """What `build_index` made."""

    path: Path
    samples: int
    scenes: int
    size_bytes: int


def build_index(root: Path, version: str, *, say: Say) -> Built:
    """Write the index of a version, replacing the one that was there when the new one is whole.

    Raises:
        DataError: a table is missing or damaged, or a row that is referred to is not there.
        StorageError: the folder of the tables cannot be written.
    """
    if list_versions(str(root)):
        raise DataError(
            f"{root} is an OpenLane-V2 data set, which needs no index: each of its frames is a file of its own",
            hint=f"admlops run TopoMLP --data {root}   # or see whether it is whole: admlops data check {root}",
        )
    folder = NuScenes(root, version).root / version
    tables = {f"{name}.json": _identify(folder / f"{name}.json") for name in TABLES}
    say(f"reading the tables of {folder}")
    source = _read_source(folder)
    say(f"indexing {count_of(len(source.samples), 'sample')}")
    try:
        return _write(folder, source, tables, CanBus(root))
    except KeyError as error:
        raise DataError(
            f"{folder}: a row refers to {error}, which is in none of the tables", hint="unpack the tables again"
        ) from error


def _identify(path: Path) -> dict[str, Any]:
    try:
        status = path.stat()
        digest = file_sha256(path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path.parent}   # unpack the tables there again"
        ) from error
    return {"size_bytes": status.st_size, "mtime_ns": status.st_mtime_ns, "sha256": digest}


def _read_source(folder: Path) -> _Source:
    samples = {row.token: row for row in stream_rows(folder, "sample", Sample)}
    locations = {row.token: row.location for row in stream_rows(folder, "log", Log)}
    scenes = list(stream_rows(folder, "scene", Scene))
    channels = {row.token: row.channel for row in stream_rows(folder, "sensor", Sensor)}
    calibrated = {row.token: row for row in stream_rows(folder, "calibrated_sensor", Calibrated)}
    frames: dict[str, dict[str, list[_Frame]]] = defaultdict(lambda: defaultdict(list))
    wanted: set[str] = set()
    for row in stream_rows(folder, "sample_data", SampleData):
        channel = channels[calibrated[row.calibrated_sensor_token].sensor_token]
        sample = samples.get(row.sample_token)
        if channel in CHANNELS and sample is not None:
            frames[sample.scene_token][channel].append(_frame(row, sample, calibrated))
            wanted.add(row.ego_pose_token)
    keys: dict[str, dict[str, int]] = {channel: {} for channel in CHANNELS}
    for by_channel in frames.values():
        for channel, listed in by_channel.items():
            listed.sort(key=lambda frame: frame.timestamp)
            for number, frame in enumerate(listed):
                if frame.is_key:
                    keys[channel].setdefault(frame.sample, number)
    return _Source(
        samples=samples,
        scenes=scenes,
        locations={scene.token: locations[scene.log_token] for scene in scenes},
        calibrated=calibrated,
        frames=frames,
        keys=keys,
        poses=_Poses(folder, wanted),
    )


def _frame(row: SampleData, sample: Sample, calibrated: Mapping[str, Calibrated]) -> _Frame:
    # Tokens of the other tables are shared, not kept once a row: there are millions of rows.
    size = None if row.width is None or row.height is None else (row.width, row.height)
    return _Frame(
        timestamp=row.timestamp,
        sample=sample.token,
        is_key=row.is_key_frame,
        filename=row.filename,
        pose=row.ego_pose_token,
        calibrated=calibrated[row.calibrated_sensor_token].token,
        size=size,
    )


class _Poses(Mapping[str, tuple[list[Number], list[Number]]]):
    """Translations and rotations by token, as the texts of the table: decoded when they are asked for."""

    def __init__(self, folder: Path, wanted: set[str]) -> None:
        self._texts: dict[str, bytes] = {}
        for row in stream_rows(folder, "ego_pose", EgoPose):
            if row.token in wanted:
                self._texts[row.token] = b"[%b,%b]" % (bytes(row.translation), bytes(row.rotation))

    def __getitem__(self, token: str) -> tuple[list[Number], list[Number]]:
        translation, rotation = msgspec.json.decode(self._texts[token])
        return translation, rotation

    def __iter__(self) -> Iterator[str]:
        return iter(self._texts)

    def __len__(self) -> int:
        return len(self._texts)


def _write(folder: Path, source: _Source, tables: dict[str, Any], can_bus: CanBus) -> Built:
    target = folder / FILE_NAME
    count = len(source.samples)
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{FILE_NAME}.", dir=folder)
    except OSError as error:
        raise explain_os_error(error, target) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            size_bytes = _write_sections(file, source, tables, can_bus)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        with suppress(OSError):
            Path(temporary).unlink()
    return Built(path=target, samples=count, scenes=len(source.scenes), size_bytes=size_bytes)


def _write_sections(file: Any, source: _Source, tables: dict[str, Any], can_bus: CanBus) -> int:
    """The whole file: the texts first, at their final places, then what points at them."""
    ordered, listed = _order(source)
    count = len(ordered)
    width = max((len(token.encode()) for token in ordered), default=1)
    header: dict[str, Any] = {
        "schema": SCHEMA,
        "samples": count,
        "token_bytes": width,
        "tables": tables,
        "scenes": listed,
    }
    # Room for the header is made before its last numbers are known: as much as the largest could take.
    room = json.dumps(
        {**header, "size_bytes": 10**15, "sections": dict.fromkeys(("tokens", "places", "order"), 10**15)}
    )
    tokens_at = _aligned(len(MAGIC) + LENGTH.size + len(room.encode()))
    places = _aligned(tokens_at + width * count)
    order = _aligned(places + PLACE.size * count)
    offset = _aligned(order + ORDER.size * count)

    tokens = sorted(token.encode().ljust(width, b"\0") for token in ordered)
    position = {token.rstrip(b"\0").decode(): number for number, token in enumerate(tokens)}
    where: NDArray[np.uint64] = np.zeros((count, 4), dtype="<u8")
    file.seek(offset)
    for scene in source.scenes:
        for token, number in _tokens_of(scene, source):
            for part, content in enumerate(_texts_of(scene, token, number, source, can_bus)):
                file.write(content)
                where[position[token], 2 * part : 2 * part + 2] = (offset, len(content))
                offset += len(content)
    sections = {"tokens": tokens_at, "places": places, "order": order}
    header_text = json.dumps({**header, "size_bytes": offset, "sections": sections}).encode()
    file.seek(0)
    file.write(MAGIC + LENGTH.pack(len(header_text)) + header_text)
    file.seek(tokens_at)
    file.write(b"".join(tokens))
    file.seek(places)
    file.write(where.tobytes())
    file.seek(order)
    file.write(np.array([position[token] for token in ordered], dtype="<u4").tobytes())
    file.truncate(offset)
    return offset


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT


def _order(source: _Source) -> tuple[list[str], list[dict[str, Any]]]:
    """The samples' tokens scene by scene, and the scenes with where theirs begin."""
    ordered: list[str] = []
    listed = []
    for scene in source.scenes:
        tokens = [token for token, _ in _tokens_of(scene, source)]
        listed.append(
            {
                "name": scene.name,
                "token": scene.token,
                "location": source.locations[scene.token],
                "first": len(ordered),
                "samples": len(tokens),
            }
        )
        ordered += tokens
    if len(set(ordered)) != len(ordered):
        raise DataError("sample.json: a sample is in two scenes, or a chain loops", hint="unpack the tables again")
    return ordered, listed


def _tokens_of(scene: Scene, source: _Source) -> Iterator[tuple[str, int]]:
    """(sample token, its number in the scene), in time order."""
    token, number = scene.first_sample_token, 0
    while token:
        if number > len(source.samples):
            raise DataError(f"sample.json: the chain of scene {scene.name} loops", hint="unpack the tables again")
        yield token, number
        token, number = source.samples[token].next, number + 1


def _texts_of(scene: Scene, token: str, number: int, source: _Source, can_bus: CanBus) -> tuple[bytes, bytes]:
    row = source.samples[token]
    frames = source.frames.get(scene.token, {})
    keys = {channel: source.keys[channel][token] for channel in CHANNELS if token in source.keys[channel]}
    own = _sensor(_key_lidar(token, source), source)
    sample = make_sample(
        token,
        scene=scene.name,
        scene_token=scene.token,
        index_in_scene=number,
        timestamp_us=row.timestamp,
        ego2global=own["ego2global"],
        cameras={name: _camera(frames[name][keys[name]], source) for name in CAMERAS if name in keys},
        lidar=own,
    )
    context = {
        "prev": row.prev,
        "next": row.next,
        "location": source.locations[scene.token],
        "can_bus": can_bus.around(scene.name, row.timestamp),
        "driven": {
            "before": _driven(token, "prev", DRIVEN_BEFORE, source),
            "after": _driven(token, "next", DRIVEN_AFTER, source),
        },
        "lidar_sweeps": _sweeps(frames[LIDAR], keys[LIDAR], LIDAR_SWEEPS, _sensor, source),
        "camera_sweeps": {
            name: _sweeps(frames[name], keys[name], CAMERA_SWEEPS, _camera, source) for name in CAMERAS if name in keys
        },
    }
    return _compress(sample), _compress(context)


def _compress(value: dict[str, Any]) -> bytes:
    return zlib.compress(msgspec.json.encode(value), 6)


def _key_lidar(token: str, source: _Source) -> _Frame:
    """The LiDAR's key frame of a sample. Raises DataError if there is none."""
    number = source.keys[LIDAR].get(token)
    if number is None:
        raise DataError(f"sample {token} has no {LIDAR} key frame", hint="unpack the tables again")
    return source.frames[source.samples[token].scene_token][LIDAR][number]


def _sweeps(
    frames: Sequence[_Frame],
    key: int,
    count: int,
    describe: Callable[[_Frame, _Source], dict[str, Any]],
    source: _Source,
) -> list[dict[str, Any]]:
    return [
        {**describe(frame, source), "is_key_frame": frame.is_key, "sample_token": frame.sample}
        for frame in reversed(frames[max(key - count, 0) : key])
    ]


def _driven(token: str, way: Literal["prev", "next"], count: int, source: _Source) -> list[dict[str, Any]]:
    """Return where the LiDAR is at up to `count` key frames before or after a sample, the nearest first."""
    places: list[dict[str, Any]] = []
    while len(places) < count and (token := getattr(source.samples[token], way)):
        sensor = _sensor(_key_lidar(token, source), source)
        places.append({name: sensor[name] for name in ("timestamp_us", "sensor2ego", "ego2global")})
    return places


def _sensor(frame: _Frame, source: _Source) -> dict[str, Any]:
    calibrated = source.calibrated[frame.calibrated]
    translation, rotation = source.poses[frame.pose]
    return make_sensor(
        frame.filename,
        frame.timestamp,
        sensor2ego=make_pose(calibrated.translation, calibrated.rotation),
        ego2global=make_pose(translation, rotation),
    )


def _camera(frame: _Frame, source: _Source) -> dict[str, Any]:
    width, height = frame.size or (0, 0)
    intrinsic = source.calibrated[frame.calibrated].camera_intrinsic
    return make_camera(_sensor(frame, source), width=width, height=height, intrinsic=intrinsic)
