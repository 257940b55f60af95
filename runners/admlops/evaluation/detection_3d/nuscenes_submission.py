"""nuScenes detection metrics: records become a submission, and the official devkit measures it in its own process.

The submission is in the global frame; records are in the key frame's ego frame. Every evaluated sample is in it, a
failed one with no boxes. What the format has no word for is settled as the authors of the models settle it: a box
without an attribute gets the one that its class and speed suggest (mmdet3d, `NuScenesDataset._format_bbox`), an unknown
velocity is zero, and of more than 500 boxes the most confident stay.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import msgspec
import numpy as np

from admlops.core.errors import DataError, RecordError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.datasets.nuscenes.tables import multiply_quaternions, rotation_matrix
from admlops.environments import Environment
from admlops.evaluation.metrics import ERROR_NAMES
from admlops.evaluation.official.program import ask_program
from admlops.results.record import Detection3D, Record

MAX_BOXES_PER_SAMPLE = 500
MOVING_M_S = 0.2
OFFICIAL_NAME = "nuscenes"
TIMEOUT_S = 4 * 3600.0
"""The whole of nuScenes takes minutes, on a busy machine an hour; this only ends what hangs."""

DEFAULT_ATTRIBUTES = {
    "car": "vehicle.parked",
    "truck": "vehicle.parked",
    "bus": "vehicle.moving",
    "trailer": "vehicle.parked",
    "construction_vehicle": "vehicle.parked",
    "pedestrian": "pedestrian.moving",
    "motorcycle": "cycle.without_rider",
    "bicycle": "cycle.without_rider",
    "traffic_cone": "",
    "barrier": "",
}
"""The ten classes of the detection task, and mmdet3d's attribute for each."""

ATTRIBUTES = frozenset(
    {
        "pedestrian.moving",
        "pedestrian.sitting_lying_down",
        "pedestrian.standing",
        "cycle.with_rider",
        "cycle.without_rider",
        "vehicle.moving",
        "vehicle.parked",
        "vehicle.stopped",
    }
)


class HasConfidence(Protocol):
    """A detection, as far as choosing the most confident goes."""

    @property
    def confidence(self) -> float: ...


Found = TypeVar("Found", bound=HasConfidence)

META = {"use_camera": True, "use_lidar": False, "use_radar": False, "use_map": False, "use_external": False}


@dataclass(frozen=True, kw_only=True)
class Submission:
    """A nuScenes submission's `results`, in the order of the records, and what was left out of it."""

    results: Mapping[str, Sequence[Mapping[str, Any]]]
    failed_samples: tuple[str, ...]
    dropped_boxes: int


def summary_values(summary: Mapping[str, Any]) -> dict[str, float | None]:
    """mAP, NDS and the mean errors in the devkit's `DetectionMetrics.serialize()`, by the names that papers use."""
    errors = {name: summary["tp_errors"][key] for key, name in ERROR_NAMES.items()}
    return {"mAP": summary["mean_ap"], "NDS": summary["nd_score"], **errors}


def make_submission(records: Iterable[Record], samples: Mapping[str, Mapping[str, Any]]) -> Submission:
    """The submission for `records`; `samples` holds, by token, each sample in the shape of docs/architecture.md.

    Raises:
        DataError: a record's sample is not in `samples`.
        RecordError: a class or attribute that nuScenes does not have.
    """
    results: dict[str, list[dict[str, Any]]] = {}
    failed: list[str] = []
    dropped = 0
    for record in records:
        token = record.metadata.sample_token
        if token not in samples:
            raise DataError(
                f"the record of sample {token} ({record.metadata.scene}) belongs to no sample of this data set",
                hint="pass the --data and --version that the run was made with",
            )
        if record.metadata.status == "failed":
            failed.append(token)
        detections = list(record.detections_3d or [])
        kept = most_confident(detections)
        dropped += len(detections) - len(kept)
        results[token] = _to_global(kept, record, samples[token]["ego2global"])
    return Submission(results=results, failed_samples=tuple(failed), dropped_boxes=dropped)


def evaluate_detection(
    submission: Submission, *, dataroot: Path, version: str, folder: Path, environment: Environment, layout: Layout
) -> dict[str, Any]:
    """What the devkit says of `submission` over exactly its samples; what went in and came out stays in `folder`.

    `summary` is `DetectionMetrics.serialize()`, None for NaN; `boxes` counts those after the filters, by class.

    Args:
        folder: the run's `predictions/`.
        environment: `environments.ensure_official(layout, "nuscenes")`.

    Raises:
        EnvError: the evaluator failed; the message ends with what it said last.
    """
    predictions, tokens = folder / "nuscenes_detection.json", folder / "nuscenes_tokens.json"
    result = folder / "nuscenes_detection_result.json"
    write_atomically(predictions, msgspec.json.encode({"meta": META, "results": submission.results}))
    write_atomically(tokens, msgspec.json.encode(list(submission.results)))
    program = layout.envs / "official" / OFFICIAL_NAME / "evaluate.py"
    command: list[str | Path] = [environment.python, program, "--dataroot", dataroot, "--version", version]
    command += ["--predictions", predictions, "--tokens", tokens]
    answer = ask_program(
        "the official nuScenes evaluator",
        command,
        result=result,
        variables={**environment.variables, "MPLBACKEND": "agg"},
        timeout_s=TIMEOUT_S,
        advice=f"check that {dataroot / version} is whole; ",
    )
    official: dict[str, Any] = msgspec.json.decode(answer)
    return official


def choose_attribute(class_name: str, speed_m_s: float) -> str:
    """The attribute that mmdet3d gives a box of this class and speed."""
    default = DEFAULT_ATTRIBUTES[class_name]
    if speed_m_s > MOVING_M_S:
        if default.startswith("vehicle"):
            return "vehicle.moving"
        return "cycle.with_rider" if default.startswith("cycle") else default
    return {"pedestrian": "pedestrian.standing", "bus": "vehicle.stopped"}.get(class_name, default)


def most_confident(detections: Sequence[Found]) -> Sequence[Found]:
    """At most 500 of them in their order; of equals the earlier stay."""
    if len(detections) <= MAX_BOXES_PER_SAMPLE:
        return detections
    order = sorted(range(len(detections)), key=lambda index: -detections[index].confidence)
    return [detections[index] for index in sorted(order[:MAX_BOXES_PER_SAMPLE])]


def _to_global(detections: Sequence[Detection3D], record: Record, pose: Mapping[str, Any]) -> list[dict[str, Any]]:
    if not detections:
        return []
    for detection in detections:
        _check(detection, record)
    rotation = rotation_matrix(pose["rotation_wxyz"])
    quaternion = tuple(np.asarray(pose["rotation_wxyz"]) / np.linalg.norm(pose["rotation_wxyz"]))
    centers = np.array([detection.bbox_3d.center for detection in detections]) @ rotation.T + pose["translation"]
    # mmdet3d calls an unknown velocity zero; the devkit would leave such a box out of mAVE, and so flatter the model.
    velocities = np.array([(*(detection.bbox_3d.velocity or (0.0, 0.0)), 0.0) for detection in detections])
    speeds = np.linalg.norm(velocities, axis=1)
    turned = velocities @ rotation.T
    return [
        {
            "sample_token": record.metadata.sample_token,
            "translation": center.tolist(),
            "size": list(detection.bbox_3d.size_wlh),
            "rotation": [float(q) for q in multiply_quaternions(quaternion, detection.bbox_3d.rotation_wxyz)],
            "velocity": velocity[:2].tolist(),
            "detection_name": detection.class_name,
            "detection_score": float(detection.confidence),
            "attribute_name": detection.attribute or choose_attribute(detection.class_name, float(speed)),
        }
        for detection, center, velocity, speed in zip(detections, centers, turned, speeds, strict=True)
    ]


def _check(detection: Detection3D, record: Record) -> None:
    where = f"sample {record.metadata.sample_token} ({record.metadata.scene}), detection {detection.id}"
    hint = f"mend convert() in the adapter of {record.metadata.model_name} and run it again"
    if detection.class_name not in DEFAULT_ATTRIBUTES:
        classes = ", ".join(DEFAULT_ATTRIBUTES)
        raise RecordError(f"{where}: nuScenes has no class {detection.class_name!r}; it has {classes}", hint=hint)
    if detection.attribute and detection.attribute not in ATTRIBUTES:
        known = ", ".join(sorted(ATTRIBUTES))
        raise RecordError(f"{where}: nuScenes has no attribute {detection.attribute!r}; it has {known}", hint=hint)
