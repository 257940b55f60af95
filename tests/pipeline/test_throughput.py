"""Throughput mode with real processes: a model that waits, one that does one sample at a time on the whole machine."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.crowd import Member, make_crowd
from tests.pipeline.pods import Pod

from admlops.results.run_folder import records_digest


def search(pod: Pod, model: str, name: str, *more: str) -> dict[str, Any]:
    words = ("run", model, "--data", pod.folder / "data", "--run", name, "--throughput", "--json")
    done = pod.type(*words, *more)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)["throughput"]
    assert found == json.loads((pod.run(name).throughput_path).read_text())
    return found


@pytest.mark.full
def test_a_model_that_waits_gets_more_workers_and_one_that_holds_the_machine_gets_one(
    tmp_path: Path, synthetic_root: Path
) -> None:
    members = [Member(name="Ann", sleep_s=0.3), Member(name="Ben", sleep_s=0.4, holds=True)]
    pod = make_crowd(tmp_path / "pod", synthetic_root, members)
    waits = search(pod, "Ann", "waits", "--workers", "4")
    assert [one["workers"] for one in waits["tried"]] == [1, 2, 4]
    assert waits["workers"] == 4
    rates = [one["samples_per_s"] for one in waits["tried"]]
    assert rates[2] > 1.5 * rates[0], "a ratio within one search"
    assert waits["tried"][0]["j_per_sample"] is None
    assert waits["tried"][0]["energy"], "it says why there is no energy"
    holds = search(pod, "Ben", "holds")
    assert max(one["workers"] for one in holds["tried"]) <= 4
    assert holds["workers"] <= 2, "a second one reads while the first computes; more have nothing to do"
    assert "workers give" in holds["ended"]

    header = pod.run("waits").header
    assert (header.options["workers"], header.shared) == (4, "by 4 workers at once on each device")
    plain = pod.type("run", "Ann", "--data", pod.folder / "data", "--run", "plain")
    assert plain.returncode == 0, plain.stderr
    assert records_digest(pod.run("plain")) == records_digest(pod.run("waits"))
    evaluated = pod.type("evaluate", "waits")
    assert evaluated.returncode == 0, evaluated.stderr
    latency = json.loads(pod.run("waits").metrics_path.read_text())["latency"]
    assert latency["inference"]["mean_s"] is None
    assert latency["shared"]["why"] == "by 4 workers at once on each device"
    pages = pod.type("report", "waits")
    assert pages.returncode == 0, pages.stderr
    assert "Settings that throughput mode tried" in pod.run("waits").report_path.read_text()
    assert not list((pod.folder / "repository").glob(".throughput-*"))


@pytest.mark.full
def test_a_model_that_computes_gets_no_more_workers_than_there_are_cores(tmp_path: Path, synthetic_root: Path) -> None:
    pod = make_crowd(tmp_path / "pod", synthetic_root, [Member(name="Cid", busy_s=0.1)])
    found = search(pod, "Cid", "computes")
    cores = len(os.sched_getaffinity(0))
    assert found["tried"][0]["cores"] == pytest.approx(1, abs=0.15), "also where the machine does other things"
    assert found["workers"] <= cores + 1


@pytest.mark.full
def test_a_search_on_a_card_counts_memory_and_energy_and_goes_on_as_it_was(
    tmp_path: Path, synthetic_root: Path
) -> None:
    pod = make_crowd(
        tmp_path / "pod", synthetic_root, [Member(name="Ann", sleep_s=0.3, card_mb=9000)], gpus=("NVIDIA A24",)
    )
    found = search(pod, "Ann", "one", "--gpu-memory-limit", "20GB")
    assert [(one["workers"], one["gpu_mb"]) for one in found["tried"]] == [(1, 9000), (2, 18000)]
    assert found["ended"].startswith("3 workers have no room: 28,350 MB of GPU memory, and there are 20,000")
    assert pod.run("one").header.settings["gpu_memory_limit_mb"] is None, "the limit is that of all workers"
    whole = records_digest(pod.run("one"))
    scene = next(pod.run("one").records_path.iterdir())
    scene.unlink()
    again = pod.type("run", "Ann", "--data", pod.folder / "data", "--run", "one", "--throughput", "--resume")
    assert again.returncode == 0, again.stderr
    assert "throughput mode goes on with 2 workers, batch 1" in again.stderr
    assert records_digest(pod.run("one")) == whole
