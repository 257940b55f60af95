"""Run folders made by the project's own writer."""

from __future__ import annotations

import json
from collections.abc import Callable

import msgspec
import pytest
from msgspec import UNSET
from tests.typed import typed

from admlops.core.paths import Layout
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Failure, Metadata, Outputs
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder

__all__ = ["typed"]

DECODE_OUTPUTS = msgspec.json.Decoder(Outputs).decode

MakeRun = Callable[..., RunFolder]
METRICS = {
    "schema": 1,
    "data": {"samples_sha256": "5a" * 32},
    "metrics": [
        {"name": "mAP", "protocol": "nuscenes.detection_cvpr_2019", "value": 0.25, "n": 3, "interval": [0.2, 0.3]},
        {"name": "mAVE", "protocol": "nuscenes.detection_cvpr_2019", "value": None, "n": 3, "interval": None},
    ],
}
OUTPUTS = {
    "detections_3d": [
        {
            "id": 0,
            "class_name": "car",
            "confidence": 0.5,
            "bbox_3d": {
                "center": [12.5, -3.0, 0.75],
                "size_wlh": [1.9, 4.5, 1.6],
                "rotation_wxyz": [1.0, 0.0, 0.0, 0.0],
                "velocity": [1.0, 0.0],
            },
        },
        {
            "id": 1,
            "class_name": "pedestrian",
            "confidence": 0.25,
            "attribute": "pedestrian.standing",
            "bbox_3d": {"center": [5.0, 2.0, 0.9], "size_wlh": [0.6, 0.7, 1.8], "rotation_wxyz": [0.0, 0.0, 0.0, 1.0]},
        },
    ],
    "map_elements": [{"id": 0, "type": "divider", "points": [[0.0, 1.5], [10.0, 1.75]], "confidence": 0.75}],
}


@pytest.fixture
def make_run(layout: Layout) -> MakeRun:
    """`make_run("name")`: two scenes of two samples, the last sample failed; `evaluated=True` adds metrics.json."""

    def make(name: str, *, created: str = "2026-01-02T03:04:05+00:00", evaluated: bool = False) -> RunFolder:
        header = RunHeader(
            run=name,
            model="GroundPlane",
            variant="modern",
            environment=EnvironmentInfo(name="GroundPlane-modern", digest="d" * 64, backend="venv", python="3.11.2"),
            data=DataInfo(
                root="/data", version="v1.0-mini", split="mini_val", samples_sha256="5a" * 32, synthetic=True
            ),
            provenance=Provenance(commit=None, admlops="0.1.0", host="pod"),
            scenes={"scene-0916": 2, "scene-0103": 2},
            settings={},
            created=created,
            state="complete",
        )
        run = RunFolder.create(layout.runs / name, header)
        for scene in header.scenes:
            _write_scene(run, scene)
        if evaluated:
            run.metrics_path.write_text(json.dumps(METRICS))
        return run

    return make


def _write_scene(run: RunFolder, scene: str) -> None:
    with run.scene_writer(scene) as writer:
        for index in range(2):
            failed = scene == "scene-0103" and index == 1
            metadata = Metadata(
                model_name="GroundPlane",
                variant="modern",
                run=run.header.run,
                sample_token=f"{scene}-{index}",
                scene=scene,
                index_in_scene=index,
                status="failed" if failed else "ok",
                inference_time=None if failed else 0.125,
                failure=Failure("data", "no image", "look") if failed else UNSET,
            )
            outputs = Outputs() if failed else DECODE_OUTPUTS(json.dumps(OUTPUTS).encode())
            writer.append(make_record(metadata, outputs))
        writer.commit()
