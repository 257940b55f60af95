"""nuScenes at 12 Hz: camera pictures between key frames as inputs, and annotations interpolated to 12 moments a second.

The inputs are ASAP's: a key frame, then the front camera's pictures up to the next key frame, with each other camera's
picture as many places further in its own row. Where a camera's row has ended, its last picture comes again; where three
have, the interval ends. An input's token is its key frame's with `1`, `2`, … behind it.

The moments of the ground truth are ASAP's `interp`: between two key frames five more, at equal parts of the time
between the samples. An object is there if both key frames have it; its centre is interpolated linearly, its rotation
along the arc; all else is the earlier key frame's. The vehicle's pose is that of the n-th LiDAR sweep after the key
frame, which serves the range filter alone.

Source: ASAP (arXiv 2212.08914), sAP3D/nusc_12Hz_image_input_json.py and sAP3D/nusc_annotation_generator.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import msgspec
import numpy as np

from admlops.core.errors import DataError
from admlops.datasets.annotations import Annotations
from admlops.datasets.base import LIDAR as HAS_LIDAR
from admlops.datasets.base import MAP, STREAM, Scene
from admlops.datasets.nuscenes.annotations import UNPACK, read_annotations
from admlops.datasets.nuscenes.interpolation import PARTS, interpolate
from admlops.datasets.nuscenes.table_rows import Calibrated, EgoPose, Sample, SampleData, Sensor
from admlops.datasets.nuscenes.table_stream import stream_rows
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.worker.samples.form import make_camera, make_pose, make_sample, make_sensor
from admlops.worker.samples.nuscenes import CAMERAS, LIDAR

FRONT = CAMERAS[0]
ENDED = 3
"""An interval ends once the rows of this many cameras have ended."""
NEAR_US = 30_000
"""A LiDAR sweep within this time of the front camera's picture gives an input its pose: at 20 Hz there is one."""


class _Row(SampleData, gc=False, kw_only=True):
    token: str
    next: str


@dataclass(frozen=True, kw_only=True)
class _Input:
    """One input: its pictures by camera, the LiDAR sweep nearest to it, and the row that gives its pose and time."""

    scene: Scene
    index: int
    timestamp_us: int
    pictures: Mapping[str, _Row]
    lidar: _Row
    posed: _Row


class NuScenes12Hz(NuScenes):
    """A root and version of nuScenes whose samples are the inputs at 12 Hz."""

    kind: ClassVar[str] = "nuscenes-12hz"
    capabilities: ClassVar[frozenset[str]] = frozenset({MAP, HAS_LIDAR, STREAM})

    def __init__(self, root: Path, version: str) -> None:
        super().__init__(root, version)
        self._inputs: dict[str, _Input] = {}
        self._inputs_of: dict[str, tuple[str, ...]] = {}
        self._key_frames: dict[str, Scene] = {}
        self._sweeps: dict[str, list[_Row]] = {}
        self._poses: dict[str, tuple[Any, Any]] = {}
        self._sensors: dict[str, tuple[str, Calibrated]] = {}

    def scenes(self, names: Iterable[str] | None = None) -> list[Scene]:
        """The named scenes in that order, or all; their samples are the inputs. Raises DataError as NuScenes."""
        found = super().scenes(names)
        self._read([scene for scene in found if scene.name not in self._inputs_of])
        return [
            Scene(name=one.name, token=one.token, location=one.location, samples=self._inputs_of[one.name])
            for one in found
        ]

    def sample(self, token: str) -> dict[str, Any]:
        """Return one input as an adapter gets it; its pose and time are those of the LiDAR sweep nearest to it."""
        one = self._find(token)
        lidar = self._sensor(one.lidar)
        posed = lidar if one.posed is one.lidar else {**lidar, "ego2global": self._pose_of(one.posed)}
        return make_sample(
            token,
            scene=one.scene.name,
            scene_token=one.scene.token,
            index_in_scene=one.index,
            timestamp_us=one.timestamp_us,
            ego2global=posed["ego2global"],
            cameras={name: self._camera(row) for name, row in one.pictures.items()},
            lidar=posed,
        )

    def stream_truth(self, scenes: Sequence[str]) -> Annotations:
        """The annotated objects of the named scenes at 12 Hz, scene by scene; see `HasStream`."""
        self.scenes(scenes)
        keys = [token for name in scenes for token in self._key_frames[name].samples]
        annotations = read_annotations(self.root, self.version, keys)
        times = {row.token: row.timestamp for row in stream_rows(self.root / self.version, "sample", Sample)}
        poses = np.stack([self._frame_poses(token) for token in keys]) if keys else np.zeros((0, PARTS, 7))
        return interpolate(annotations, np.array([times[token] for token in keys], dtype=np.int64), poses)

    def _find(self, token: str) -> _Input:
        if token not in self._inputs:
            self._read(
                [scene for scene in super().scenes() if _is_of(scene, token) and scene.name not in self._inputs_of]
            )
        if token not in self._inputs:
            raise DataError(
                f"{self.root / self.version} has no input {token!r} at 12 Hz",
                hint="a run with --stream names its inputs; pass the --data that it was made with",
            )
        return self._inputs[token]

    def _read(self, scenes: Sequence[Scene]) -> None:
        """Read the inputs of scenes that are not read yet, in one pass over the tables."""
        if not scenes:
            return
        folder = self.root / self.version
        self._read_sensors(folder)
        wanted = {token for scene in scenes for token in scene.samples}
        rows: dict[str, _Row] = {}
        keys: dict[str, dict[str, _Row]] = {token: {} for token in wanted}
        for row in stream_rows(folder, "sample_data", _Row):
            channel = self._channel(row)
            if row.sample_token in wanted and (channel in CAMERAS or channel == LIDAR):
                rows[row.token] = row
                if row.is_key_frame:
                    keys[row.sample_token][channel] = row
        needed = {row.ego_pose_token for row in rows.values()}
        for pose in stream_rows(folder, "ego_pose", EgoPose):
            if pose.token in needed:
                self._poses[pose.token] = (msgspec.json.decode(pose.translation), msgspec.json.decode(pose.rotation))
        for scene in scenes:
            self._add_scene(scene, keys, rows)

    def _add_scene(self, scene: Scene, keys: Mapping[str, Mapping[str, _Row]], rows: Mapping[str, _Row]) -> None:
        self._key_frames[scene.name] = scene
        tokens: list[str] = []
        for token, following in zip(scene.samples, (*scene.samples[1:], None), strict=True):
            own = keys[token]
            if LIDAR not in own or FRONT not in own:
                lacking = LIDAR if LIDAR not in own else FRONT
                raise DataError(f"sample {token} has no {lacking} key frame in {self.root / self.version}", hint=UNPACK)
            until = None if following is None else keys[following].get(FRONT)
            self._sweeps[token] = list(_follow(own[LIDAR], rows))
            pictures = [own, *(_between(own, until, rows) if until is not None else [])]
            for number, one in enumerate(pictures):
                name = f"{token}{number}" if number else token
                lidar = own[LIDAR] if not number else self._nearest_sweep(token, one[FRONT].timestamp)
                near = not number or abs(lidar.timestamp - one[FRONT].timestamp) <= NEAR_US
                posed = lidar if near else one[FRONT]
                self._inputs[name] = _Input(
                    scene=scene,
                    index=len(tokens),
                    timestamp_us=posed.timestamp if number else own[LIDAR].timestamp,
                    pictures={camera: one[camera] for camera in CAMERAS if camera in one},
                    lidar=lidar,
                    posed=posed,
                )
                tokens.append(name)
        self._inputs_of[scene.name] = tuple(tokens)

    def _nearest_sweep(self, token: str, timestamp: int) -> _Row:
        return min(self._sweeps[token], key=lambda row: abs(row.timestamp - timestamp))

    def _frame_poses(self, token: str) -> Any:
        """(PARTS, 7): the vehicle's pose at the key frame and at each LiDAR sweep after it; the last one again."""
        rows = self._sweeps[token]
        chosen = [rows[min(number, len(rows) - 1)] for number in range(PARTS)]
        return np.array([[*self._poses[row.ego_pose_token][0], *self._poses[row.ego_pose_token][1]] for row in chosen])

    def _read_sensors(self, folder: Path) -> None:
        if self._sensors:
            return
        channels = {row.token: row.channel for row in stream_rows(folder, "sensor", Sensor)}
        for row in stream_rows(folder, "calibrated_sensor", Calibrated):
            self._sensors[row.token] = (channels.get(row.sensor_token, ""), row)

    def _channel(self, row: _Row) -> str:
        return self._sensors[row.calibrated_sensor_token][0] if row.calibrated_sensor_token in self._sensors else ""

    def _pose_of(self, row: _Row) -> dict[str, Any]:
        if row.ego_pose_token not in self._poses:
            raise DataError(f"{self.root / self.version}/ego_pose.json has no row {row.ego_pose_token!r}", hint=UNPACK)
        return make_pose(*self._poses[row.ego_pose_token])

    def _sensor(self, row: _Row) -> dict[str, Any]:
        calibrated = self._sensors[row.calibrated_sensor_token][1]
        mounted = make_pose(calibrated.translation, calibrated.rotation)
        path = str(self.root / row.filename)
        return make_sensor(path, row.timestamp, sensor2ego=mounted, ego2global=self._pose_of(row))

    def _camera(self, row: _Row) -> dict[str, Any]:
        calibrated = self._sensors[row.calibrated_sensor_token][1]
        return make_camera(
            self._sensor(row),
            width=row.width or 0,
            height=row.height or 0,
            intrinsic=calibrated.camera_intrinsic,
        )


def _is_of(scene: Scene, token: str) -> bool:
    return token in scene.samples or token[:-1] in scene.samples or token[:-2] in scene.samples


def _follow(row: _Row, rows: Mapping[str, _Row]) -> Iterable[_Row]:
    """Yield a row and those after it, up to the next key frame."""
    yield row
    while row.next in rows and not rows[row.next].is_key_frame:
        row = rows[row.next]
        yield row


def _between(own: Mapping[str, _Row], until: _Row, rows: Mapping[str, _Row]) -> list[dict[str, _Row]]:
    """The pictures by camera after a key frame, up to the front camera's next one."""
    found: list[dict[str, _Row]] = []
    now = {name: row for name, row in own.items() if name in CAMERAS}
    while True:
        after = {name: rows.get(row.next) for name, row in now.items()}
        front = after[FRONT]
        if front is None or front.token == until.token or front.is_key_frame:
            return found
        if sum(row is None for row in after.values()) >= ENDED:
            return found
        now = {name: row if row is not None else now[name] for name, row in after.items()}
        found.append(now)
