"""Seeded detection data with the statistics of nuScenes: tables on disk, and predictions to go with them.

A scene is 40 key frames, half a second apart, of a vehicle that drives on. Objects stand or move beside its way, more
cars and pedestrians than trailers; most are seen for a part of the scene, some have no LiDAR point, some no attribute.
Predictions are many and mostly wrong, as those of query-based detectors are: every object is found or missed by its
distance, found boxes are a little off, and the rest of the 300 lie about with low confidences.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from admlops.core.nuscenes_classes import CLASSES
from admlops.evaluation.detection_3d.boxes import ATTRIBUTE_INDEX, ATTRIBUTES, Boxes, GroundTruth, Racks, join

VERSION = "v1.0-mini"
SAMPLES_PER_SCENE = 40
CATEGORIES = (
    "vehicle.car",
    "vehicle.truck",
    "vehicle.bus.rigid",
    "vehicle.trailer",
    "vehicle.construction",
    "human.pedestrian.adult",
    "vehicle.motorcycle",
    "vehicle.bicycle",
    "movable_object.trafficcone",
    "movable_object.barrier",
)
"""In the order of CLASSES."""

RACK = "static_object.bicycle_rack"
RACK_AHEAD_M = 10.0
SHARES = np.array([0.43, 0.07, 0.015, 0.02, 0.012, 0.2, 0.012, 0.013, 0.085, 0.143])
SIZES = np.array(
    [
        [1.95, 4.62, 1.73],
        [2.51, 6.93, 2.84],
        [2.94, 10.5, 3.47],
        [2.9, 12.29, 3.87],
        [2.73, 6.37, 3.19],
        [0.67, 0.73, 1.77],
        [0.77, 2.11, 1.47],
        [0.6, 1.7, 1.28],
        [0.41, 0.41, 1.07],
        [2.53, 0.5, 0.98],
    ]
)
SPEEDS = np.array([3.0, 2.0, 2.5, 1.0, 0.3, 1.0, 3.0, 2.0, 0.0, 0.0])
KINDS = ("vehicle",) * 5 + ("pedestrian", "cycle", "cycle", "", "")

Row = dict[str, Any]
Floats = NDArray[np.float64]


def no_racks() -> Racks:
    """No bicycle racks."""
    return Racks(
        sample=np.zeros(0, np.int32), center=np.zeros((0, 3)), size=np.zeros((0, 3)), rotation=np.zeros((0, 3, 3))
    )


@dataclass(frozen=True)
class _Track:
    """An object over the samples `first` to `last` of its scene."""

    label: int
    first: int
    last: int
    start: Floats
    velocity: Floats
    size: Floats
    yaw: float


def write_tables(
    root: Path, *, scenes: int, samples: int = SAMPLES_PER_SCENE, seed: int = 0, objects: int = 110
) -> Path:
    """Write the tables of `scenes` scenes of `samples` key frames below `root`, streamed; returns `root`."""
    folder = root / VERSION
    folder.mkdir(parents=True)
    (root / "maps").mkdir()
    Image.new("L", (1, 1)).save(root / "maps" / "mask.png")
    names = ("scene", "log", "sample", "sample_data", "ego_pose", "instance", "sample_annotation")
    writers = {name: _Table(folder / f"{name}.json") for name in names}
    for number in range(scenes):
        _write_scene(writers, number, samples, objects, np.random.default_rng([seed, number]))
    for writer in writers.values():
        writer.close()
    for name, rows in _fixed_tables(scenes).items():
        (folder / f"{name}.json").write_text(json.dumps(rows))
    return root


def tokens_of(scenes: int, samples: int = SAMPLES_PER_SCENE) -> list[str]:
    """Every sample token, scene after scene."""
    return [_sample_token(number, index) for number in range(scenes) for index in range(samples)]


def predict(
    truth: GroundTruth, *, per_sample: int = 300, seed: int = 0, skill: float = 1.0, digits: int | None = None
) -> Boxes:
    """Predictions in the global frame, `per_sample` of them in each sample.

    Args:
        skill: how good they are; 0 finds nothing, 1 is a good camera detector.
        digits: round confidences to so many digits, which makes ties.
    """
    rng = np.random.default_rng([seed, 7])
    found = _found(truth, rng, skill)
    loose = _loose(truth, np.bincount(found.sample, minlength=len(truth.samples)), per_sample, rng)
    both = join([found, loose])
    # Shuffled within samples, as queries come.
    boxes = both.take(np.lexsort((rng.random(len(both)), both.sample)))
    score = np.clip(boxes.score, 0.0, 1.0)
    start = np.searchsorted(boxes.sample, boxes.sample)
    number = (np.arange(len(boxes)) - start).astype(np.int32)
    return Boxes(
        **{
            **{name: getattr(boxes, name) for name in Boxes.__dataclass_fields__},
            "score": score if digits is None else score.round(digits),
            "number": number,
        }
    )


def _found(truth: GroundTruth, rng: np.random.Generator, skill: float) -> Boxes:
    boxes = truth.boxes
    away = np.linalg.norm(boxes.center[:, :2] - truth.ego[boxes.sample, :2], axis=1)
    chance = skill * np.exp(-away / 60)
    rows = np.flatnonzero(rng.random(len(boxes)) < chance)
    # Some objects are found twice.
    rows = np.sort(np.concatenate([rows, rng.choice(rows, len(rows) // 5)])) if len(rows) else rows
    n = len(rows)
    spread = (0.25 + away[rows] / 60)[:, np.newaxis]
    other = rng.random(n) < 0.07
    turned = rng.random(n) < 0.05
    return Boxes(
        sample=boxes.sample[rows],
        label=np.where(other, rng.integers(0, len(CLASSES), n), boxes.label[rows]).astype(np.int8),
        center=boxes.center[rows] + rng.normal(0, 1, (n, 3)) * spread * (1, 1, 0.3),
        size=boxes.size[rows] * np.exp(rng.normal(0, 0.1, (n, 3))),
        yaw=boxes.yaw[rows] + rng.normal(0, 0.15, n) + np.pi * turned,
        velocity=np.nan_to_num(boxes.velocity[rows]) + rng.normal(0, 0.5, (n, 2)),
        attribute=np.where(rng.random(n) < 0.8, boxes.attribute[rows], rng.integers(1, len(ATTRIBUTES), n)).astype(
            np.int8
        ),
        score=rng.beta(4, 5, n) * np.exp(-away[rows] / 120),
        number=np.zeros(n, np.int32),
    )


def _loose(truth: GroundTruth, taken: NDArray[np.int64], per_sample: int, rng: np.random.Generator) -> Boxes:
    sample = np.repeat(np.arange(len(truth.samples)), np.maximum(per_sample - taken, 0)).astype(np.int32)
    n = len(sample)
    label = rng.choice(len(CLASSES), n, p=SHARES / SHARES.sum()).astype(np.int8)
    away = 55 * np.sqrt(rng.random(n))
    heading = rng.uniform(-np.pi, np.pi, n)
    around = np.stack([away * np.cos(heading), away * np.sin(heading), rng.normal(0, 0.5, n)], axis=1)
    return Boxes(
        sample=sample,
        label=label,
        center=truth.ego[sample] + around,
        size=SIZES[label] * np.exp(rng.normal(0, 0.2, (n, 3))),
        yaw=rng.uniform(-np.pi, np.pi, n),
        velocity=rng.normal(0, 1.0, (n, 2)),
        attribute=rng.integers(1, len(ATTRIBUTES), n).astype(np.int8),
        score=rng.beta(1, 14, n),
        number=np.zeros(n, np.int32),
    )


def submission_boxes(boxes: Boxes, tokens: list[str]) -> Iterator[tuple[str, list[Row]]]:
    """Each sample's boxes in the form of a nuScenes submission, samples in the order of `tokens`."""
    bounds = np.searchsorted(boxes.sample, np.arange(len(tokens) + 1))
    columns = [column.tolist() for column in (boxes.center, boxes.size, boxes.yaw, boxes.velocity, boxes.score)]
    for index, token in enumerate(tokens):
        rows = []
        for row in range(bounds[index], bounds[index + 1]):
            center, size, yaw, velocity, score = (column[row] for column in columns)
            rows.append(
                {
                    "sample_token": token,
                    "translation": center,
                    "size": size,
                    "rotation": _quaternion(yaw),
                    "velocity": velocity,
                    "detection_name": CLASSES[boxes.label[row]],
                    "detection_score": score,
                    "attribute_name": ATTRIBUTES[boxes.attribute[row]],
                }
            )
        yield token, rows


def write_submission(path: Path, boxes: Boxes, tokens: list[str]) -> None:
    """A submission file, written sample by sample."""
    with path.open("w") as file:
        file.write('{"meta": {"use_camera": true}, "results": {')
        for index, (token, rows) in enumerate(submission_boxes(boxes, tokens)):
            file.write(f"{', ' if index else ''}{json.dumps(token)}: {json.dumps(rows)}")
        file.write("}}")


class _Table:
    """A list of rows, written one by one in the layout of the real tables."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w")
        self._between = "[\n"

    def add(self, **row: Any) -> None:
        self._file.write(self._between + json.dumps(row, indent=0))
        self._between = ",\n"

    def close(self) -> None:
        self._file.write("\n]" if self._between != "[\n" else "[]")
        self._file.close()


def _write_scene(tables: dict[str, _Table], number: int, samples: int, objects: int, rng: np.random.Generator) -> None:
    name = f"scene-{number:04d}"
    weather = ("", "Night, ")[number % 7 == 3] + ("", "heavy rain, ")[number % 5 == 2]
    tokens = [_sample_token(number, index) for index in range(samples)]
    tables["log"].add(token=f"log-{name}", logfile="", vehicle="n015", date_captured="", location="boston-seaport")
    tables["scene"].add(
        token=f"s-{name}",
        name=name,
        description=f"{weather}parked cars, pedestrians",
        log_token=f"log-{name}",
        nbr_samples=samples,
        first_sample_token=tokens[0],
        last_sample_token=tokens[-1],
    )
    heading, speed = rng.uniform(-np.pi, np.pi), rng.uniform(0, 10)
    forward = np.array([math.cos(heading), math.sin(heading), 0.0])
    origin = np.array([*rng.uniform(300, 2000, 2), 0.0])
    times = [
        1_500_000_000_000_000 + number * 10**9 + 500_000 * index + int(rng.integers(-900, 900))
        for index in range(samples)
    ]
    for index, token in enumerate(tokens):
        neighbours = {"prev": tokens[index - 1] if index else "", "next": [*tokens, ""][index + 1]}
        tables["sample"].add(token=token, timestamp=times[index], scene_token=f"s-{name}", **neighbours)
        _write_poses(tables, token, times[index], origin + forward * speed * index / 2, heading)
    for index in range(objects):
        track = _make_track(origin, forward, speed, samples, rng)
        _write_track(tables, f"{name}-{index}", track, tokens, times, rng)
    _write_rack(tables, name, tokens, origin + forward * RACK_AHEAD_M)


def _write_poses(tables: dict[str, _Table], token: str, time: int, position: Floats, heading: float) -> None:
    """The LiDAR's key frame, and sweeps between, which evaluation must pass over."""
    for sweep in range(3):
        pose = f"pose-{token}-{sweep}"
        tables["ego_pose"].add(
            token=pose,
            timestamp=time + 50_000 * sweep,
            rotation=_quaternion(heading),
            translation=(position + 0.2 * sweep).tolist(),
        )
        tables["sample_data"].add(
            token=f"data-{token}-{sweep}",
            sample_token=token,
            ego_pose_token=pose,
            calibrated_sensor_token="calibrated-lidar",
            timestamp=time + 50_000 * sweep,
            fileformat="pcd",
            is_key_frame=sweep == 0,
            height=0,
            width=0,
            filename=f"samples/LIDAR_TOP/{token}.pcd.bin",
            prev="",
            next="",
        )


def _make_track(origin: Floats, forward: Floats, speed: float, samples: int, rng: np.random.Generator) -> _Track:
    label = int(rng.choice(len(CLASSES), p=SHARES / SHARES.sum()))
    first = int(rng.integers(0, samples))
    last = min(samples - 1, first + int(rng.geometric(1 / 14)) - 1)
    way = origin + forward * speed * (first + last) / 4
    moving = rng.random() < 0.4
    beside = np.array([*rng.normal(0, 22, 2), rng.normal(1, 0.3)])
    if KINDS[label] == "cycle" and rng.random() < 0.3:  # in the rack, and standing
        way, beside, moving = origin + forward * RACK_AHEAD_M, beside * (0.15, 0.15, 0.5), False
    return _Track(
        label=label,
        first=first,
        last=last,
        start=way + beside,
        velocity=np.array([*rng.normal(0, 1, 2) * SPEEDS[label] * moving, 0.0]),
        size=SIZES[label] * np.exp(rng.normal(0, 0.12, 3)),
        yaw=float(rng.uniform(-np.pi, np.pi)),
    )


def _write_track(
    tables: dict[str, _Table], name: str, track: _Track, tokens: list[str], times: list[int], rng: np.random.Generator
) -> None:
    steps = range(track.first, track.last + 1)
    own = [f"ann-{name}-{step}" for step in steps]
    attribute = _attribute(track, rng)
    _add_instance(tables, name, CATEGORIES[track.label], own)
    for index, step in enumerate(steps):
        position = track.start + track.velocity * (times[step] - times[track.first]) * 1e-6
        tables["sample_annotation"].add(
            token=own[index],
            sample_token=tokens[step],
            instance_token=f"i-{name}",
            visibility_token=str(int(rng.integers(1, 5))),
            attribute_tokens=[f"a-{attribute}"] if attribute else [],
            translation=position.tolist(),
            size=track.size.tolist(),
            rotation=_quaternion(track.yaw + 0.02 * index),
            prev=own[index - 1] if index else "",
            next=[*own, ""][index + 1],
            num_lidar_pts=int(rng.geometric(0.08)) - 1,
            num_radar_pts=int(rng.integers(0, 2)),
        )


def _write_rack(tables: dict[str, _Table], name: str, tokens: list[str], center: Floats) -> None:
    own = [f"ann-{name}-rack-{index}" for index in range(len(tokens))]
    _add_instance(tables, f"{name}-rack", RACK, own)
    for index, token in enumerate(tokens):
        tables["sample_annotation"].add(
            token=own[index],
            sample_token=token,
            instance_token=f"i-{name}-rack",
            visibility_token="4",
            attribute_tokens=[],
            translation=center.tolist(),
            size=[12.0, 20.0, 3.0],
            rotation=_quaternion(0.7),
            prev=own[index - 1] if index else "",
            next=[*own, ""][index + 1],
            num_lidar_pts=9,
            num_radar_pts=0,
        )


def _add_instance(tables: dict[str, _Table], name: str, category: str, own: list[str]) -> None:
    ends = {"first_annotation_token": own[0], "last_annotation_token": own[-1]}
    tables["instance"].add(token=f"i-{name}", category_token=f"c-{category}", nbr_annotations=len(own), **ends)


def _attribute(track: _Track, rng: np.random.Generator) -> str:
    """An attribute that fits the class; none for some, as in nuScenes."""
    kind = KINDS[track.label]
    if not kind or rng.random() < 0.01:
        return ""
    choices = [name for name in ATTRIBUTE_INDEX if name.startswith(kind)]
    return choices[int(rng.integers(0, len(choices)))]


def _fixed_tables(scenes: int) -> dict[str, list[Row]]:
    return {
        "category": [{"token": f"c-{name}", "name": name, "description": ""} for name in (*CATEGORIES, RACK)],
        "attribute": [{"token": f"a-{name}", "name": name, "description": ""} for name in ATTRIBUTES[1:]],
        "visibility": [{"token": str(level), "level": f"v{level}", "description": ""} for level in range(1, 5)],
        "sensor": [{"token": "lidar", "channel": "LIDAR_TOP", "modality": "lidar"}],
        "calibrated_sensor": [
            {
                "token": "calibrated-lidar",
                "sensor_token": "lidar",
                "translation": [0.94, 0.0, 1.84],
                "rotation": _quaternion(-math.pi / 2),
                "camera_intrinsic": [],
            }
        ],
        "map": [
            {
                "token": "map",
                "category": "semantic_prior",
                "filename": "maps/mask.png",
                "log_tokens": [f"log-scene-{number:04d}" for number in range(scenes)],
            }
        ],
    }


def _sample_token(number: int, index: int) -> str:
    return f"sample-of-scene-{number:04d}-at-{index:08d}"


def _quaternion(yaw: float) -> list[float]:
    return [math.cos(yaw / 2), 0.0, 0.0, math.sin(yaw / 2)]
