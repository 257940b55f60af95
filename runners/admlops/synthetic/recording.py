"""Recording one scene: sensor files at their times, annotations at key frames, and the rows that describe them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from admlops import __version__
from admlops.synthetic.lidar import cast_sweep, count_points
from admlops.synthetic.options import RECIPE, SceneSpec, SynthesisOptions
from admlops.synthetic.randomness import make_generator, make_token
from admlops.synthetic.renderer import render_camera
from admlops.synthetic.rig import Sensor, pose_matrix, quaternion
from admlops.synthetic.stage import KEYFRAME_S, Stage, set_stage
from admlops.synthetic.tables import (
    Row,
    attribute_token,
    calibration_row,
    category_token,
    link_chain,
    log_row,
)
from admlops.synthetic.visibility import measure_visibility, visibility_token

Array = NDArray[np.float64]

ANNOTATION_RANGE = 70.0  # metres from the ego vehicle up to which actors are annotated
JPEG_QUALITY = 90


@dataclass(frozen=True)
class SceneRecording:
    """The rows one scene adds to the tables, and its CAN bus files."""

    spec: SceneSpec
    log_token: str
    rows: dict[str, list[Row]]
    can_bus: dict[str, Any]


@dataclass(frozen=True)
class _Box:
    """An actor's box at a key frame as the tables store it."""

    index: int
    sample: int
    center: Array
    heading: float
    points: int
    visibility: str
    attribute: str | None


class _Recorder:
    def __init__(self, stage: Stage, options: SynthesisOptions, folder: Path, progress: Callable[[], None]) -> None:
        self.stage = stage
        self.options = options
        self.folder = folder
        self.progress = progress
        self.name = stage.spec.name
        self.rows: dict[str, list[Row]] = {}

    def token(self, *names: object) -> str:
        # All that changes the pictures is in the tokens: runs over different data never look comparable.
        options = (self.options.samples, self.options.scale, self.options.lidar_sweeps, self.options.camera_sweeps)
        return make_token(__version__, RECIPE, self.options.seed, *options, self.name, *names)

    def add(self, table: str, row: Row) -> None:
        self.rows.setdefault(table, []).append(row)

    def record(self) -> None:
        self._add_scene()
        boxes: list[_Box] = []
        for sample in range(self.options.samples):
            boxes += self._record_sample(sample)
        self._add_annotations(boxes)
        link_chain(self.rows["sample"])
        for sensor in (*self.stage.cameras, self.stage.lidar):
            calibration = self.token("calibrated_sensor", sensor.channel)
            chain = [row for row in self.rows["sample_data"] if row["calibrated_sensor_token"] == calibration]
            link_chain(sorted(chain, key=lambda row: int(row["timestamp"])))

    def _add_scene(self) -> None:
        stage, last = self.stage, self.options.samples - 1
        date = datetime.fromtimestamp(stage.start_us / 1e6, UTC).strftime("%Y-%m-%d")
        self.add("log", log_row(self.token("log"), stage.spec, date))
        turn = "turns at a junction" if stage.plan.turns else "crosses a junction"
        when = "dusk" if stage.light.lamps else "day"
        scene = {
            "token": self.token("scene"),
            "log_token": self.token("log"),
            "nbr_samples": self.options.samples,
            "first_sample_token": self.token("sample", 0),
            "last_sample_token": self.token("sample", last),
            "name": self.name,
            "description": f"Synthetic: {turn}, {when}, parked cars, pedestrians",
        }
        self.add("scene", scene)
        for sensor in (*stage.cameras, stage.lidar):
            self.add("calibrated_sensor", calibration_row(self.token("calibrated_sensor", sensor.channel), sensor))

    def _record_sample(self, sample: int) -> list[_Box]:
        """Everything from after the key frame before up to and including this one."""
        stage, time = self.stage, sample * KEYFRAME_S
        timestamp = stage.start_us + round(time * 1e6)
        self.add(
            "sample",
            {"token": self.token("sample", sample), "timestamp": timestamp, "scene_token": self.token("scene")},
        )
        if sample:
            for sweep in range(1, self.options.lidar_sweeps + 1):
                self._record_lidar(sample, time - KEYFRAME_S * (1 - sweep / (self.options.lidar_sweeps + 1)), False)
            for sweep in range(1, self.options.camera_sweeps + 1):
                at = time - KEYFRAME_S * (1 - sweep / (self.options.camera_sweeps + 1))
                for camera in stage.cameras:
                    self._record_camera(camera, sample, at, False)
        for camera in stage.cameras:
            self._record_camera(camera, sample, time, True)
        points, to_world = self._record_lidar(sample, time, True)
        boxes = self._measure_boxes(sample, time, points, to_world)
        self.progress()
        return boxes

    def _record_camera(self, camera: Sensor, sample: int, at: float, key: bool) -> None:
        time = at + camera.delay_us / 1e6
        timestamp, filename, _ = self._add_sample_data(camera, sample, time, key, "jpg")
        random = make_generator("image", self.options.seed, self.name, camera.channel, timestamp)
        things, casters = self.stage.place(time)
        image = render_camera(self.stage.backdrop, camera, self.stage.ego_pose(time), things, casters, random)
        image.save(self.folder / filename, quality=JPEG_QUALITY)

    def _record_lidar(self, sample: int, time: float, key: bool) -> tuple[NDArray[np.float32], Array]:
        """Write a sweep; returns it and the LiDAR's pose (4, 4) as the tables give it."""
        timestamp, filename, ego = self._add_sample_data(self.stage.lidar, sample, time, key, "pcd.bin")
        random = make_generator("sweep", self.options.seed, self.name, timestamp)
        sweep = cast_sweep(self.stage, time, random)
        sweep.tofile(self.folder / filename)
        return sweep, pose_matrix(ego["translation"], ego["rotation"]) @ self.stage.lidar.to_ego

    def _add_sample_data(
        self, sensor: Sensor, sample: int, time: float, key: bool, suffix: str
    ) -> tuple[int, str, Row]:
        """Rows of `ego_pose` and `sample_data`; returns the timestamp [µs], the file's name and the ego pose."""
        timestamp = self.stage.start_us + round(time * 1e6)
        token = self.token("sample_data", sensor.channel, timestamp)
        matrix = self.stage.ego_pose(time)
        ego = {
            "token": token,
            "timestamp": timestamp,
            "rotation": list(quaternion(matrix[:3, :3])),
            "translation": matrix[:3, 3].tolist(),
        }
        self.add("ego_pose", ego)
        folder = "samples" if key else "sweeps"
        filename = f"{folder}/{sensor.channel}/synthetic-{self.name}__{sensor.channel}__{timestamp}.{suffix}"
        row = {
            "token": token,
            "sample_token": self.token("sample", sample),
            "ego_pose_token": token,
            "calibrated_sensor_token": self.token("calibrated_sensor", sensor.channel),
            "timestamp": timestamp,
            "fileformat": suffix.removesuffix(".bin"),
            "is_key_frame": key,
            "height": sensor.height,
            "width": sensor.width,
            "filename": filename,
        }
        self.add("sample_data", row)
        return timestamp, filename, ego

    def _measure_boxes(self, sample: int, time: float, sweep: NDArray[np.float32], to_world: Array) -> list[_Box]:
        ego = self.stage.ego_pose(time)[:2, 3]
        shares = measure_visibility(self.stage, time)
        boxes = []
        for actor in self.stage.actors:
            pose = actor.motion.pose(time)
            if np.hypot(*(pose[:2] - ego)) > ANNOTATION_RANGE:
                continue
            center = np.round([pose[0], pose[1], actor.size[2] / 2], 3)
            points = count_points(sweep, to_world, center, actor.size, float(pose[2]))
            visibility = visibility_token(float(shares[actor.index]))
            boxes.append(_Box(actor.index, sample, center, float(pose[2]), points, visibility, actor.attribute(time)))
        return boxes

    def _add_annotations(self, boxes: list[_Box]) -> None:
        """Annotate the actors that the LiDAR ever hits, each from its first to its last key frame in range."""
        for actor in self.stage.actors:
            own = [box for box in boxes if box.index == actor.index]
            if not any(box.points for box in own):
                continue
            own = _longest_stretch(own)
            rows = [self._annotation(box, actor.size) for box in own]
            link_chain(rows)
            instance = {
                "token": self.token("instance", actor.index),
                "category_token": category_token(actor.category),
                "nbr_annotations": len(rows),
                "first_annotation_token": rows[0]["token"],
                "last_annotation_token": rows[-1]["token"],
            }
            self.add("instance", instance)
            for row in rows:
                self.add("sample_annotation", row)

    def _annotation(self, box: _Box, size: tuple[float, float, float]) -> Row:
        return {
            "token": self.token("annotation", box.index, box.sample),
            "sample_token": self.token("sample", box.sample),
            "instance_token": self.token("instance", box.index),
            "visibility_token": box.visibility,
            "attribute_tokens": [attribute_token(box.attribute)] if box.attribute else [],
            "translation": box.center.tolist(),
            "size": list(size),
            "rotation": [float(np.cos(box.heading / 2)), 0.0, 0.0, float(np.sin(box.heading / 2))],
            "num_lidar_pts": box.points,
            "num_radar_pts": 0,
        }


def record_scene(
    spec: SceneSpec, progress: Callable[[], None], *, options: SynthesisOptions, folder: Path
) -> SceneRecording:
    """Record a scene's files into `folder`, whose sensor folders exist; `progress` is called after each key frame."""
    from admlops.synthetic.can_bus import make_can_bus

    stage = set_stage(spec, options)
    recorder = _Recorder(stage, options, folder, progress)
    recorder.record()
    return SceneRecording(spec, recorder.token("log"), recorder.rows, make_can_bus(stage, options.samples))


def _longest_stretch(boxes: list[_Box]) -> list[_Box]:
    """The longest run of consecutive key frames: a chain of annotations has no gaps."""
    runs: list[list[_Box]] = []
    for box in boxes:
        if runs and runs[-1][-1].sample == box.sample - 1:
            runs[-1].append(box)
        else:
            runs.append([box])
    return max(runs, key=len)
