"""Boxes as a run folder: what a model would have left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from tests.evaluation.generated_boxes import VERSION

from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.annotations import Annotations
from admlops.datasets.nuscenes.tables import tokens_digest
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, Boxes, GroundTruth, multiply, rotations
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder


def write_run(path: Path, root: Path, annotations: Annotations, truth: GroundTruth, boxes: Boxes) -> RunFolder:
    """A complete run of these boxes (global frame), as standard records in the ego frame."""
    names = [scene.name for scene in annotations.scenes]
    scenes = {name: names.count(name) for name in dict.fromkeys(names)}
    header = RunHeader(
        run=path.name,
        model="Generated",
        variant="modern",
        environment=EnvironmentInfo(name="none", digest="none", backend="venv", python="3.11"),
        data=DataInfo(
            root=str(root),
            version=VERSION,
            split=None,
            samples_sha256=tokens_digest(truth.samples),
            synthetic=False,
        ),
        provenance=Provenance(commit=None, admlops="0", host="none"),
        scenes=scenes,
        settings={},
        created="2026-01-01T00:00:00+00:00",
    )
    run = RunFolder.create(path, header)
    local = _in_ego_frame(boxes, truth)
    bounds = np.searchsorted(boxes.sample, np.arange(len(names) + 1))
    for name in scenes:
        own = [index for index, scene in enumerate(names) if scene == name]
        lines = [
            _record(path.name, truth.samples[index], name, place, local, range(bounds[index], bounds[index + 1]))
            for place, index in enumerate(own)
        ]
        (run.records_path / f"{name}.jsonl").write_bytes(b"".join(lines))
    run.update(state="complete")
    return run


def _in_ego_frame(boxes: Boxes, truth: GroundTruth) -> dict[str, list[Any]]:
    turn = rotations(truth.rotation)[boxes.sample]
    center = np.einsum("nij,ni->nj", turn, boxes.center - truth.ego[boxes.sample])
    velocity = np.einsum("nij,ni->nj", turn[:, :2, :2], boxes.velocity)
    inverse = truth.rotation[boxes.sample] * (1, -1, -1, -1)
    zero = np.zeros(len(boxes))
    upright = np.stack([np.cos(boxes.yaw / 2), zero, zero, np.sin(boxes.yaw / 2)], axis=1)
    columns = {"center": center, "size_wlh": boxes.size, "rotation_wxyz": multiply(inverse, upright)}
    return {
        **{name: column.tolist() for name, column in columns.items()},
        "velocity": velocity.tolist(),
        "score": boxes.score.tolist(),
        "class_name": [CLASSES[label] for label in boxes.label],
        "attribute": [ATTRIBUTES[attribute] for attribute in boxes.attribute],
        "id": boxes.number.tolist(),
    }


def _record(run: str, token: str, scene: str, place: int, local: dict[str, list[Any]], rows: range) -> bytes:
    geometry = ("center", "size_wlh", "rotation_wxyz", "velocity")
    detections = [
        {
            "id": local["id"][row],
            "class_name": local["class_name"][row],
            "confidence": local["score"][row],
            "bbox_3d": {name: local[name][row] for name in geometry},
            "attribute": local["attribute"][row],
        }
        for row in rows
    ]
    metadata: dict[str, Any] = {
        "model_name": "Generated",
        "variant": "modern",
        "run": run,
        "sample_token": token,
        "scene": scene,
    }
    metadata |= {"index_in_scene": place, "status": "ok", "inference_time": 0.05, "end_to_end_time": 0.08}
    return msgspec.json.encode({"schema": 1, "metadata": metadata, "detections_3d": detections}) + b"\n"
