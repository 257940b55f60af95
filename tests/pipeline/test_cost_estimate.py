"""What runs would take: measured, published, or not known; on which GPUs, and for how much."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.pipeline.cost_estimate import READING_S, estimate_cost, makespan
from admlops.pipeline.memory_table import MemoryRow, MemoryTable, key_of
from admlops.pipeline.rented_gpus import known_gpus, parse_gpus
from admlops.results.header import DataInfo, DeviceInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.record import Metadata, Record
from admlops.results.run_folder import RunFolder


def measured_run(layout: Layout, *, gpu: str, seconds: float, memory_mb: float) -> None:
    """A run of StreamPETR on a GPU, of three samples."""
    header = RunHeader(
        run=f"on-{gpu.split()[-1]}",
        model="StreamPETR",
        variant="modern",
        environment=EnvironmentInfo(name="StreamPETR-modern", digest="d" * 64, backend="venv", python="3.11.2"),
        data=DataInfo(root="/data", version="v1.0-mini", split="mini_val", samples_sha256="5a" * 32, synthetic=True),
        provenance=Provenance(commit=None, admlops="0.2.0", host="pod"),
        scenes={"scene-0103": 3},
        settings={},
        created="2026-01-02T03:04:05+00:00",
        device=DeviceInfo(kind="cuda", name=gpu, ids=["cuda:0"]),
        state="complete",
    )
    run = RunFolder.create(layout.runs / header.run, header)
    with run.scene_writer("scene-0103") as writer:
        for index in range(3):
            metadata = Metadata(
                model_name="StreamPETR",
                variant="modern",
                run=header.run,
                sample_token=f"token-{index}",
                scene="scene-0103",
                index_in_scene=index,
                status="ok",
                inference_time=0.01,
                end_to_end_time=seconds,
                gpu_memory_used=memory_mb,
            )
            writer.append(Record(schema=1, metadata=metadata, detections_3d=[]))
        writer.commit()
    ready_s = 100.0
    events = [
        ("run_started", 90.0),
        ("worker_started", 95.0),
        ("worker_ready", ready_s),
        ("run_ended", ready_s + 3 * seconds),
    ]
    lines = [json.dumps({"t": at, "event": kind, "worker": 0}) for kind, at in events]
    run.events_path.write_text("\n".join(lines) + "\n")
    row = MemoryRow(
        key=key_of(header),
        device_mb=memory_mb,
        reserved_mb=None,
        host_mb=2000,
        cores=1.0,
        samples=3,
        run=header.run,
        adapter="",
        measured="2026-01-02T03:04:05+00:00",
    )
    MemoryTable.of(layout).note(row, say=print)


def test_a_speed_measured_on_such_a_gpu_goes_before_the_published_one(layout: Layout) -> None:
    model, a40 = load_model(layout, "StreamPETR"), parse_gpus("2 x A40")
    published = estimate_cost(layout, model, [40, 40, 20], a40)
    assert published.seconds_a_sample == pytest.approx(1 / 31.7 + READING_S)
    assert "31.7 FPS" in published.source
    assert (published.fits, published.disk_mb) == (True, None)
    assert "the catalogue's estimate" in published.source

    measured_run(layout, gpu="NVIDIA H200", seconds=0.2, memory_mb=600)
    assert "published" in estimate_cost(layout, model, [40], a40).source
    measured_run(layout, gpu="NVIDIA A40", seconds=0.5, memory_mb=600)
    found = estimate_cost(layout, model, [40, 40, 20], a40)
    assert found.seconds_a_sample == pytest.approx(0.5)
    assert found.source == "measured on NVIDIA A40, in run on-A40; memory: measured on NVIDIA A40, in run on-A40"
    assert found.minutes == pytest.approx(60 * 0.5 / 60), "two GPUs: 40 + 20 and 40"
    assert found.cost_usd == pytest.approx(0.5 / 60 * 2 * 0.44)
    assert found.fits is True
    assert found.disk_mb is not None


def test_a_model_that_does_not_fit_is_said_so(layout: Layout) -> None:
    measured_run(layout, gpu="NVIDIA GeForce RTX 3090", seconds=0.5, memory_mb=30_000)
    found = estimate_cost(layout, load_model(layout, "StreamPETR"), [40], parse_gpus("rtx 3090"))
    assert (found.fits, found.cost_usd) == (False, None)


def test_times_of_a_shared_device_are_no_speed(layout: Layout) -> None:
    measured_run(layout, gpu="NVIDIA A40", seconds=0.5, memory_mb=600)
    RunFolder.open(layout.runs / "on-A40").mark_beside(["another"])
    found = estimate_cost(layout, load_model(layout, "StreamPETR"), [40], parse_gpus("A40"))
    assert "published" in found.source


def test_what_nobody_measured_is_not_known(layout: Layout) -> None:
    found = estimate_cost(layout, load_model(layout, "GroundPlane"), [40], parse_gpus("A40"))
    assert (found.minutes, found.cost_usd) == (None, None)
    assert "not known" in found.source


@given(st.lists(st.integers(1, 60), min_size=1, max_size=30), st.integers(1, 8))
def test_the_busiest_worker_does_no_more_than_the_list_schedule_allows(scenes: list[int], workers: int) -> None:
    bound = max(max(scenes), -(-sum(scenes) // workers))
    assert bound <= makespan(scenes, workers) <= sum(scenes) / workers + max(scenes)
    assert makespan(scenes, 1) == sum(scenes)


def test_gpus_are_named_as_drivers_and_people_name_them() -> None:
    assert {row.name for row in known_gpus()} >= {"A40", "H100", "RTX 4090"}
    for row in known_gpus():
        assert (row.usd_per_hour is None) == (row.read is None), f"{row.name}: a price has the day it was read on"
    four = parse_gpus("4xRTX 4090", usd_per_hour=0.5)
    assert (four.count, four.memory_mb, four.usd_per_hour, four.read) == (4, 24_000, 0.5, None)
    assert four.names("NVIDIA GeForce RTX 4090")
    assert not four.names("NVIDIA GeForce RTX 3090")
    assert parse_gpus("A100").names("NVIDIA A100-SXM4-80GB")


@pytest.mark.parametrize("text", ["", "0xA40", "2x", "A41", "x"])
def test_gpus_that_nobody_rents_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--gpus"):
        parse_gpus(text)


def test_the_command_says_what_it_knows_and_what_not(admlops: Admlops, synthetic_root: Path) -> None:
    words = ("plan", "--models", "StreamPETR,PETR", "--data", str(synthetic_root), "--gpus", "2xA40")
    said = admlops(*words)
    assert said.returncode == 0, said.stderr
    assert "without PETR" in said.stdout
    assert "read on 2026" in said.stdout
    facts = json.loads(admlops(*words, "--price", "1", "--json").stdout)
    assert (facts["complete"], facts["price_read"], facts["usd_per_gpu_hour"]) == (False, None, 1)
    assert [one["samples"] for one in facts["models"]] == [8, 8]
    assert (
        admlops("plan", "--models", "StreamPETR", "--data", str(synthetic_root), "--price", "1", check=False).returncode
        == 2
    )
