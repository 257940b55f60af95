"""A made-up run on a made-up data set, small enough to know every number: a straight road along the global x axis.

The ego vehicle stands at (100, 200), facing global y, so that the frames differ; one LiDAR at its own place, six
cameras around it. Ground truth: three cars and a pedestrian; a divider and a boundary on either side.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from msgspec import UNSET
from PIL import Image, ImageDraw

from admlops.catalog.model import Claim
from admlops.core.errors import DataError
from admlops.datasets.annotations import Annotations, SampleScene
from admlops.datasets.nuscenes.tables import GroundTruthBox
from admlops.evaluation.latency.summary import summarize
from admlops.pipeline.run_data import Reading, RunData
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Box3D, Detection3D, Failure, MapElement, Metadata, Record
from admlops.worker.samples.quaternions import multiply_quaternions

WIDTH, HEIGHT, FOCAL = 800, 450, 560.0
SAMPLES_SHA256 = "5f" * 32
DETECTION, MAP = "nuscenes.detection_cvpr_2019", "maptr.chamfer-60x30-0.5_1.0_1.5"
CLASSES = ("car", "pedestrian", "traffic_cone", "truck")
CAMERA_YAWS = {
    "CAM_FRONT": 0.0,
    "CAM_FRONT_RIGHT": -55.0,
    "CAM_BACK_RIGHT": -110.0,
    "CAM_BACK": 180.0,
    "CAM_BACK_LEFT": 110.0,
    "CAM_FRONT_LEFT": 55.0,
}
CAMERA_FROM_EGO = (0.5, -0.5, 0.5, -0.5)
"""Rotates camera axes (x right, y down, z forward) into ego axes for a camera that looks forward."""

Quaternion = tuple[float, float, float, float]


def yaw_quaternion(degrees: float) -> Quaternion:
    half = math.radians(degrees) / 2
    return (math.cos(half), 0.0, 0.0, math.sin(half))


@dataclass(frozen=True)
class FakeData:
    """A data set in the shape the report asks for."""

    root: Path

    def sample(self, token: str) -> dict[str, Any]:
        if token == "unknown":
            raise DataError("the tables have no sample 'unknown'", hint="check --data")
        pose = {"translation": [100.0, 200.0, 0.0], "rotation_wxyz": list(yaw_quaternion(90))}
        cameras = {name: self._camera(name, yaw, pose) for name, yaw in CAMERA_YAWS.items()}
        on_roof = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": list(yaw_quaternion(-90))}
        lidar = {"path": "", "timestamp_us": 0, "sensor2ego": on_roof, "ego2global": pose}
        return {"sample_token": token, "scene": "scene-0103", "ego2global": pose, "cameras": cameras, "lidar": lidar}

    def location(self, token: str) -> str:
        return "straight-road"

    def ground_truth(self, token: str) -> list[GroundTruthBox]:
        places = [("car", 14.0, 0.5), ("car", 26.0, 4.0), ("car", -12.0, -4.0), ("pedestrian", 9.0, -6.5)]
        return [truth_box(name, x, y) for name, x, y in places]

    def annotations(self, tokens: Sequence[str], *, following: int = 0) -> Annotations:
        raise DataError("the made-up data set has no tables", hint="ask for ground_truth")

    def sample_scenes(self) -> Mapping[str, SampleScene]:
        return {}

    def _camera(self, name: str, yaw: float, pose: dict[str, Any]) -> dict[str, Any]:
        radians = math.radians(yaw)
        rotation = multiply_quaternions(yaw_quaternion(yaw), CAMERA_FROM_EGO)
        mounted = {
            "translation": [0.9 + 0.8 * math.cos(radians), 0.6 * math.sin(radians), 1.5],
            "rotation_wxyz": list(rotation),
        }
        return {
            "path": str(self.root / f"{name}.jpg"),
            "width": WIDTH,
            "height": HEIGHT,
            "timestamp_us": 0,
            "intrinsic": [[FOCAL, 0.0, WIDTH / 2], [0.0, FOCAL, HEIGHT / 2], [0.0, 0.0, 1.0]],
            "sensor2ego": mounted,
            "ego2global": pose,
        }


def truth_box(class_name: str, x: float, y: float) -> GroundTruthBox:
    size = (0.7, 0.8, 1.8) if class_name == "pedestrian" else (1.9, 4.5, 1.6)
    return GroundTruthBox(
        token=f"{class_name}-{x}-{y}",
        class_name=class_name,
        center=(x, y, size[2] / 2),
        size_wlh=size,
        rotation_wxyz=yaw_quaternion(0),
        velocity=(0.0, 0.0),
        num_lidar_pts=10,
        num_radar_pts=0,
        visibility="4",
        attribute="",
    )


def make_data(root: Path) -> FakeData:
    """Draw the six pictures and the map."""
    root.mkdir(parents=True, exist_ok=True)
    for index, name in enumerate(CAMERA_YAWS):
        image = Image.new("RGB", (WIDTH, HEIGHT), (150, 180 - 5 * index, 210))
        ImageDraw.Draw(image).rectangle((0, HEIGHT // 2, WIDTH, HEIGHT), fill=(95, 95, 95 + 5 * index))
        image.save(root / f"{name}.jpg", quality=85)
    expansion = root / "maps" / "expansion"
    expansion.mkdir(parents=True, exist_ok=True)
    (expansion / "straight-road.json").write_text(json.dumps(_map()))
    return FakeData(root)


def _map() -> dict[str, Any]:
    """A road of 16 m across x in [92, 108] and y in [100, 300], with a divider in its middle and a crossing."""
    corners = {"a": (92, 100), "b": (108, 100), "c": (108, 300), "d": (92, 300), "e": (100, 100), "f": (100, 300)}
    crossing = {"g": (93, 216), "h": (107, 216), "i": (107, 220), "j": (93, 220)}
    road = {"token": "road", "exterior_node_tokens": list("abcd"), "holes": []}
    zebra = {"token": "zebra", "exterior_node_tokens": list("ghij"), "holes": []}
    return {
        "version": "1.3",
        "node": [{"token": token, "x": x, "y": y} for token, (x, y) in {**corners, **crossing}.items()],
        "line": [{"token": "middle", "node_tokens": ["e", "f"]}],
        "polygon": [road, zebra],
        "road_divider": [{"line_token": "middle"}],
        "lane_divider": [],
        "ped_crossing": [{"polygon_token": "zebra"}],
        "road_segment": [{"polygon_token": "road"}],
        "lane": [],
    }


def make_header(model: str = "GroundPlane", *, run: str | None = None, synthetic: bool = True) -> RunHeader:
    return RunHeader(
        run=run or f"{model}-20260102-030405-0a1b2c",
        model=model,
        variant="modern",
        environment=EnvironmentInfo(name=f"{model}-modern", digest="ab" * 32, backend="venv", python="3.11.9"),
        data=DataInfo(
            root="/data/nuscenes",
            version="v1.0-mini",
            split="mini_val",
            samples_sha256=SAMPLES_SHA256,
            synthetic=synthetic,
        ),
        provenance=Provenance(commit="c0ffee" * 6 + "c0ff", admlops="0.1.0", host="x86_64, 2 cores"),
        scenes={"scene-0103": 40, "scene-0916": 40},
        settings={"device": "cpu", "checkpoint": None, "config": None},
        created="2026-01-02T03:04:05+00:00",
        options={"command": ["admlops", "run", model, "--split", "mini_val"]},
        state="complete",
    )


def make_metadata(model: str, *, failed: int = 0, samples: int = 80, seed: int = 1) -> list[Metadata]:
    chance = random.Random(seed)
    rows = []
    for index in range(samples):
        is_first = index % 40 == 0
        time_s = 0.045 * seed + chance.gammavariate(2, 0.004) + (0.06 if is_first else 0)
        is_failed = 10 <= index < 10 + failed
        failure = Failure(kind="cuda_oom", message="CUDA out of memory", hint="export GPU_MEMORY_LIMIT=8000")
        rows.append(
            Metadata(
                model_name=model,
                variant="modern",
                run=f"{model}-run",
                sample_token=f"token-{index:03d}",
                scene="scene-0103" if index < 40 else "scene-0916",
                index_in_scene=index % 40,
                status="failed" if is_failed else "ok",
                inference_time=None if is_failed else time_s,
                end_to_end_time=None if is_failed else time_s + 0.03,
                gpu_memory_used=None if is_failed else 2000.0 + index,
                failure=failure if is_failed else UNSET,
            )
        )
    return rows


def make_record(metadata: Metadata) -> Record:
    """Finds two of the three cars, misses one car and the pedestrian, sees a cone that is not there."""

    def seen(number: int, class_name: str, x: float, y: float, confidence: float) -> Detection3D:
        size = (0.5, 0.5, 0.8) if class_name == "traffic_cone" else (1.9, 4.4, 1.6)
        box = Box3D(center=(x, y, size[2] / 2), size_wlh=size, rotation_wxyz=yaw_quaternion(4))
        return Detection3D(id=number, class_name=class_name, confidence=confidence, bbox_3d=box)

    def line(number: int, kind: str, points: list[tuple[float, float]], confidence: float) -> MapElement:
        return MapElement(id=number, type=kind, points=points, confidence=confidence)

    return Record(
        schema=1,
        metadata=metadata,
        detections_3d=[
            seen(0, "car", 14.6, 0.9, 0.92),
            seen(1, "car", -12.7, -4.2, 0.71),
            seen(2, "traffic_cone", 7.0, 3.0, 0.44),
            seen(3, "car", 30.0, -9.0, 0.05),
        ],
        map_elements=[
            line(0, "divider", [(-29.0, 0.3), (0.0, 0.2), (30.0, 0.4)], 0.9),
            line(1, "boundary", [(-29.0, 7.8), (30.0, 8.2)], 0.8),
            line(2, "divider", [(-10.0, -4.5), (22.0, -3.5)], 0.5),
        ],
    )


def make_metrics(run: str, *, better: float = 0.0, worst: int = 2) -> dict[str, Any]:
    detection = {"mAP": 0.31, "NDS": 0.38, "mATE": 0.62, "mASE": 0.3, "mAOE": 0.7, "mAVE": 1.2, "mAAE": 0.4}
    lines = {"mAP": 0.42, "AP_divider": 0.5, "AP_ped_crossing": 0.3, "AP_boundary": 0.46}
    recall = [index / 100 for index in range(101)]

    def curve(height: float) -> dict[str, list[float]]:
        return {
            "recall": recall,
            "precision": [max(0.0, (height + better) * (1 - r**2)) for r in recall],
            "confidence": [1 - r for r in recall],
        }

    def metric(name: str, protocol: str, value: float) -> dict[str, Any]:
        return {"name": name, "protocol": protocol, "value": value, "n": 80, "interval": None}

    errors = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
    return {
        "schema": 1,
        "run": run,
        "samples": 80,
        "failed_samples": 0,
        "data": {"version": "v1.0-mini", "split": "mini_val", "samples_sha256": SAMPLES_SHA256, "synthetic": True},
        "metrics": [
            *(metric(k, DETECTION, v - better if k in errors else v + better) for k, v in detection.items()),
            *(metric(k, MAP, v + better) for k, v in lines.items()),
        ],
        "details": {
            "detection": {
                "classes": {name: {"ap": {"2.0": 0.3 + 0.1 * i}} for i, name in enumerate(CLASSES)},
                "curves": {name: {"2.0": curve(0.5 + 0.1 * i)} for i, name in enumerate(CLASSES)},
                "breakdowns": _box_parts(better),
            },
            "map": {
                "classes": {name: {"ap": {"1.0": 0.4}} for name in ("divider", "ped_crossing", "boundary")},
                "curves": {name: {"1.0": curve(0.6)} for name in ("divider", "ped_crossing", "boundary")},
                "breakdowns": {
                    "protocol": MAP,
                    "scene": {name: {"samples": 40, **lines} for name in ("scene-0103", "scene-0916")},
                    "conditions": {"reason": "the scenes have no description"},
                },
            },
        },
        "operating_points": {"detection": {"car": 0.5, "traffic_cone": 0.3}, "map": {"divider": 0.4}},
        "confusion": {"detection": _confusion()},
        "worst": [_worst(index) for index in range(worst)],
    }


def _worst(index: int) -> dict[str, Any]:
    counts = {"cost": 5.0, "misses": 2, "false_alarms": 1, "map_misses": 2, "map_false_alarms": 1}
    return {"sample_token": f"token-{index:03d}", "scene": "scene-0103", **counts}


def _confusion() -> dict[str, Any]:
    """Cars are mostly found, one truck in ten is taken for a car."""
    matrix = [[120 if i == j == 0 else 9 if i == j else 0 for j in range(len(CLASSES))] for i in range(len(CLASSES))]
    matrix[3][0] = 1
    counts = {"missed": [40, 12, 3, 0], "false_alarms": [25, 2, 8, 1]}
    return {"classes": list(CLASSES), "match_distance_m": 2.0, "matrix": matrix, **counts}


def _box_parts(better: float) -> dict[str, Any]:
    """Breakdowns as `metrics.json` has them: nothing at night, two rings, one level of visibility."""
    errors = dict.fromkeys(("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), 0.5)

    def part(boxes: int, mean_ap: float | None, **more: float) -> dict[str, Any]:
        return {"ground_truth": boxes, "mAP": mean_ap, "NDS": mean_ap, "errors": errors if boxes else {}, **more}

    return {
        "protocol": f"{DETECTION}.present-classes",
        "scene": {name: part(300, 0.25 + better, samples=40) for name in ("scene-0103", "scene-0916")},
        "distance": {"0-10 m": part(200, 0.61 + better, recall=0.8), "10-20 m": part(400, 0.2, recall=0.37)},
        "visibility": {"80-100 %": part(600, 0.3, recall=0.55)},
        "conditions": {"day": part(600, 0.31, samples=80), "night": part(0, None, samples=0)},
    }


def make_claims() -> tuple[Claim, ...]:
    def claim(metric: str, value: float, protocol: str, **more: str) -> Claim:
        fields = {"metric": metric, "value": value, "protocol": protocol, "source": "README.md"}
        return Claim.model_validate({**fields, **more})

    return (
        claim("mAP", 0.463, MAP, checkpoint="nano-110e"),
        claim("mAP", 0.33, "vad.detection-30x15"),
        claim("FPS", 35.0, "latency.batch1", device="NVIDIA RTX 3090"),
    )


def make_run(
    model: str = "GroundPlane", *, run: str | None = None, failed: int = 0, seed: int = 1, better: float = 0.0
) -> RunData:
    header = make_header(model, run=run)
    samples = make_metadata(model, failed=failed, seed=seed)
    readings = [
        Reading(
            t=index / 2,
            cpu_percent=50 + 30 * math.sin(index / 5),
            worker_memory_mb=900 + 10 * index,
            gpu_percent=70 + 20 * math.cos(index / 4),
            gpu_memory_mb=4000 + 20 * index,
            power_w=180.0,
        )
        for index in range(60)
    ]
    return RunData(
        model=model,
        status="complete",
        header=header,
        samples=samples,
        worst=[make_record(meta) for meta in samples[:2]],
        records=[make_record(meta) if meta.status == "ok" else Record(schema=1, metadata=meta) for meta in samples],
        metrics=make_metrics(header.run, better=better),
        telemetry=readings,
        latency=summarize(samples),
        claims=make_claims(),
        worker={"python": "3.11.9", "libraries": {"numpy": "2.4.6"}, "digest": "e7" * 32, "device_name": "cpu"},
        manifest_sha256="cd" * 32,
    )
