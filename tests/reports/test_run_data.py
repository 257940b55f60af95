"""Reading a run's folder: whole, half and damaged."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from msgspec.structs import replace
from tests.reports.fabricate import make_header, make_metadata, make_metrics, make_record

from admlops.pipeline.run_data import Reading
from admlops.reports import RunData, load_run_data, missing_model
from admlops.results.run_folder import RunFolder

GPU = {"index": 0, "utilization_percent": 50, "memory_mb": 4000.0, "power_w": 200.0}


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    """A run of two scenes of two samples, without metrics or telemetry."""
    header = replace(make_header(), scenes={"scene-0103": 2, "scene-0916": 2})
    run = RunFolder.create(tmp_path / header.run, header)
    samples = make_metadata("GroundPlane", samples=80)
    for scene, chosen in (("scene-0103", samples[0:2]), ("scene-0916", samples[40:42])):
        with run.scene_writer(scene) as writer:
            for metadata in chosen:
                writer.append(make_record(metadata))
            writer.commit()
    return run


def write_telemetry(run: RunFolder, *lines: object) -> None:
    texts = (line if isinstance(line, str) else json.dumps(line) for line in lines)
    run.telemetry_path.write_text("\n".join(texts))


def test_a_bare_run_says_what_is_missing_and_what_makes_it(run: RunFolder) -> None:
    data = load_run_data(run)
    assert [meta.sample_token for meta in data.samples] == ["token-000", "token-001", "token-040", "token-041"]
    assert data.metrics is None
    assert data.measured == []
    assert data.energy_j is None
    assert any(f"admlops evaluate {run.header.run}" in note for note in data.notes)
    assert any("telemetry.jsonl" in note for note in data.notes)


def test_only_the_worst_samples_records_are_kept_the_worst_first(run: RunFolder) -> None:
    metrics = make_metrics(run.header.run)
    metrics["worst"] = [{**metrics["worst"][0], "sample_token": token} for token in ("token-041", "token-000", "gone")]
    run.metrics_path.write_text(json.dumps(metrics))
    data = load_run_data(run)
    assert [record.metadata.sample_token for record in data.worst] == ["token-041", "token-000"]
    assert [record.metadata.sample_token for record in load_run_data(run, worst=1).worst] == ["token-041"]
    assert {metric.name for metric in data.measured} >= {"mAP", "NDS", "AP_divider"}


@pytest.mark.parametrize(
    "content", ["", "{", "[]", '{"metrics": []}', '{"data": {"samples_sha256": "x"}, "metrics": [{}]}']
)
def test_damaged_metrics_are_said_not_raised(run: RunFolder, content: str) -> None:
    run.metrics_path.write_text(content)
    data = load_run_data(run)
    assert data.metrics is None
    assert any("cannot be used" in note and "admlops evaluate" in note for note in data.notes)


def test_telemetry_adds_up_the_gpus_and_passes_over_a_torn_line(run: RunFolder) -> None:
    first = {"t": 0.5, "cpu_percent": 10.0, "host_memory_mb": 1.0, "worker_memory_mb": None, "gpus": [GPU, GPU]}
    write_telemetry(run, first, {"t": 1.0, "cpu_percent": 20.0, "gpus": []}, '{"t": 1.5, "cpu_')
    readings = load_run_data(run).telemetry
    assert [(r.t, r.gpu_memory_mb, r.power_w, r.gpu_percent) for r in readings] == [
        (0.5, 8000.0, 400.0, 50.0),
        (1.0, None, None, None),
    ]
    assert readings[0].worker_memory_mb is None


def test_a_resumed_runs_clock_goes_on(run: RunFolder) -> None:
    write_telemetry(run, *({"t": t, "gpus": []} for t in (0.5, 1.0, 1.5, 0.5, 1.0)))
    times = [reading.t for reading in load_run_data(run).telemetry]
    assert times == [0.5, 1.0, 1.5, 2.0, 2.5]


def test_energy_is_the_area_under_the_power() -> None:
    readings = [Reading(t=0, power_w=100), Reading(t=1, power_w=200), Reading(t=2), Reading(t=3, power_w=200)]
    assert RunData(model="M", status="complete", telemetry=readings).energy_j == pytest.approx(150 + 400)
    assert RunData(model="M", status="complete", telemetry=readings[:1]).energy_j is None


def test_what_the_worker_said_of_itself_is_kept(run: RunFolder) -> None:
    run.append_event(
        "worker_ready", worker=0, python="3.11.9", libraries={"numpy": "2.4"}, digest="e7", device_name="cpu"
    )
    assert load_run_data(run).worker["libraries"] == {"numpy": "2.4"}


def test_latency_leaves_first_frames_out(run: RunFolder) -> None:
    latency = load_run_data(run).latency
    assert latency is not None
    assert (latency.inference.n, latency.first_inference.n, latency.verdict) == (2, 2, "INVALID")


def test_a_model_without_a_run_keeps_the_short_status() -> None:
    row = missing_model("MapTR", hint="no lock. Next: admlops models show MapTR", status="not set up: no lock")
    assert (row.status, row.name, row.header) == ("not set up", "MapTR", None)
