"""A run as a nuScenes submission."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from msgspec import UNSET

from admlops.core.errors import DataError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.pipeline.export_submission import export_submission
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Failure, Metadata, Outputs
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder

DECODE_OUTPUTS = msgspec.json.Decoder(Outputs).decode

BOX = {"center": [10.0, 0.0, 1.0], "size_wlh": [1.9, 4.5, 1.6], "rotation_wxyz": [1.0, 0.0, 0.0, 0.0]}
CAR = {"id": 0, "class_name": "car", "confidence": 0.5, "bbox_3d": {**BOX, "velocity": [2.0, 0.0]}}


def _make_run(layout: Layout, data: NuScenes, outputs: Outputs) -> RunFolder:
    """One scene whose last sample failed; the others all say `outputs`."""
    scene = data.scenes()[0]
    header = RunHeader(
        run="run",
        model="Tiny",
        variant="modern",
        environment=EnvironmentInfo(name="Tiny-modern", digest="d" * 64, backend="venv", python="python"),
        data=DataInfo(root=str(data.root), version=data.version, split=None, samples_sha256="0" * 64, synthetic=True),
        provenance=Provenance(commit=None, admlops="0.1.0", host="pod"),
        scenes={scene.name: len(scene.samples)},
        settings={},
        created="2026-01-02T03:04:05+00:00",
    )
    run = RunFolder.create(layout.runs / "run", header)
    with run.scene_writer(scene.name) as writer:
        for index, token in enumerate(scene.samples):
            failed = index == len(scene.samples) - 1
            metadata = Metadata(
                model_name="Tiny",
                variant="modern",
                run="run",
                sample_token=token,
                scene=scene.name,
                index_in_scene=index,
                status="failed" if failed else "ok",
                failure=Failure("data", "no image", "look") if failed else UNSET,
            )
            writer.append(make_record(metadata, Outputs() if failed else outputs))
        writer.commit()
    return run


def test_boxes_are_in_the_global_frame(layout: Layout, synthetic_data: NuScenes, tmp_path: Path) -> None:
    run = _make_run(layout, synthetic_data, DECODE_OUTPUTS(json.dumps({"detections_3d": [CAR]}).encode()))
    out = tmp_path / "submission.json"
    tokens = synthetic_data.scenes()[0].samples
    assert export_submission(run, "nuscenes", out) == len(tokens)
    results = json.loads(out.read_text())["results"]
    assert list(results) == list(tokens)
    assert results[tokens[-1]] == []
    pose = synthetic_data.sample(tokens[0])["ego2global"]
    (box,) = results[tokens[0]]
    forward = np.array(box["translation"]) - pose["translation"]
    assert np.linalg.norm(forward) == pytest.approx(np.hypot(10.0, 1.0))
    assert np.linalg.norm(box["velocity"]) == pytest.approx(2.0, rel=1e-3)
    assert np.dot(forward[:2], box["velocity"]) == pytest.approx(20.0, rel=1e-2)
    assert (box["detection_name"], box["attribute_name"]) == ("car", "vehicle.moving")


def test_a_run_without_detections_is_refused(layout: Layout, synthetic_data: NuScenes, tmp_path: Path) -> None:
    divider = {"id": 0, "type": "divider", "points": [[0.0, 0.0], [1.0, 0.0]], "confidence": 0.5}
    run = _make_run(layout, synthetic_data, DECODE_OUTPUTS(json.dumps({"map_elements": [divider]}).encode()))
    with pytest.raises(UsageError, match="has no detections: Tiny does not do that task"):
        export_submission(run, "nuscenes", tmp_path / "submission.json")
    assert list(tmp_path.glob("submission.json")) == []


def test_the_data_set_must_be_there(layout: Layout, synthetic_data: NuScenes, tmp_path: Path) -> None:
    run = _make_run(layout, synthetic_data, DECODE_OUTPUTS(json.dumps({"detections_3d": [CAR]}).encode()))
    with pytest.raises(DataError, match="is not a folder"):
        export_submission(run, "nuscenes", tmp_path / "submission.json", data=tmp_path / "nowhere")
