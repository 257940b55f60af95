"""Several models at once: real worker processes with real memory, a card that they share, and the same records."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from tests.pipeline.crowd import Member, make_crowd
from tests.pipeline.pods import Pod

from admlops.results.run_folder import RunFolder, records_digest

A24 = "NVIDIA A24"


def compare(pod: Pod, *more: str, models: str = "Ann,Ben,Cid") -> tuple[dict[str, Any], str]:
    done = pod.type("compare", "--models", models, "--data", pod.folder / "data", "--json", *more)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


def runs_of(pod: Pod, summary: dict[str, Any]) -> dict[str, RunFolder]:
    return {row["model"]: pod.run(row["run"]) for row in summary["models"]}


def table(pod: Pod) -> dict[str, dict[str, Any]]:
    rows = json.loads((pod.folder / "repository" / "memory.json").read_text())["rows"]
    return {row["key"]["model"]: row for row in rows}


@pytest.mark.full
def test_three_models_share_a_card_and_write_the_records_of_one_after_the_other(
    tmp_path: Path, synthetic_root: Path
) -> None:
    members = [
        Member(name="Ann", card_mb=9000, sleep_s=0.1),
        Member(name="Ben", card_mb=7000, sleep_s=0.1),
        Member(name="Cid", card_mb=5000, sleep_s=0.1),
    ]
    pod = make_crowd(tmp_path / "pod", synthetic_root, members, gpus=(A24,), card_mb=24000)
    first, said = compare(pod, "--together", "--fresh")
    assert "Ann: alone for its first scene, to measure what it takes" in said
    assert "Cid: beside Ann, Ben" in said
    measured = table(pod)
    assert [measured[name]["device_mb"] for name in ("Ann", "Ben", "Cid")] == [9000, 7000, 5000]
    assert measured["Ann"]["key"]["device"] == A24
    assert measured["Ann"]["host_mb"] > 30
    together = runs_of(pod, first)
    assert set(together["Ann"].header.neighbours) == {together["Ben"].header.run, together["Cid"].header.run}
    for row in first["models"]:
        assert row["latency"]["inference"]["mean_s"] is None, "a shared time stands where nobody ranks it"
        assert row["latency"]["shared"]["inference"]["n"] == 6
        assert row["latency"]["verdict"] == "INVALID"
        assert row["energy"]["j_per_sample"] is None
        assert "the device was shared with" in row["energy"]["reason"]
    verdicts = {one["question"]: one for battle in first["battles"] for one in battle["further"]}
    assert verdicts["speed"]["verdict"] == "not comparable"
    assert "times are shared ones" in verdicts["speed"]["reason"]
    assert first["pareto"] == []

    second, _ = compare(pod, "--fresh")
    alone = runs_of(pod, second)
    assert all(run.header.shared is None for run in alone.values())
    assert {name: records_digest(run) for name, run in together.items()} == {
        name: records_digest(run) for name, run in alone.items()
    }
    again, _ = compare(pod)
    assert again["models"][0]["run"] == second["models"][0]["run"], "the run that has a latency is taken"


@pytest.mark.full
def test_who_has_no_room_waits_for_its_turn(tmp_path: Path, synthetic_root: Path) -> None:
    members = [Member(name=name, card_mb=9000, sleep_s=0.05) for name in ("Ann", "Ben", "Cid")]
    pod = make_crowd(tmp_path / "pod", synthetic_root, members, gpus=(A24,))
    summary, said = compare(pod, "--together", "--gpu-memory-limit", "20GB")
    assert "20,000 MB of memory of each GPU (the limit)" in said
    runs = runs_of(pod, summary)
    spans = {}
    for name, run in runs.items():
        begun = [one["t"] for one in run.events() if one["event"] == "run_started"][-1]
        spans[name] = (begun, next(one["t"] for one in reversed(run.events()) if one["event"] == "run_ended"))
    assert all(len(run.header.neighbours) <= 2 for run in runs.values())
    at_once = [sum(a <= t < b for a, b in spans.values()) for t, _ in spans.values()]
    assert max(at_once) == 2, "three of 9 GB are more than 20 GB"


@pytest.mark.full
def test_a_neighbour_that_runs_out_of_memory_gets_a_turn_of_its_own(tmp_path: Path, synthetic_root: Path) -> None:
    members = [
        Member(name="Ann", card_mb=9000, sleep_s=0.3),
        Member(name="Ben", card_mb=9000, later_mb=18000, sleep_s=0.05),
    ]
    pod = make_crowd(tmp_path / "pod", synthetic_root, members, gpus=(A24,))
    summary, said = compare(pod, "--together", models="Ann,Ben")
    assert "it goes on in a turn of its own" in said
    assert re.search(r"cuda_oom beside (Ann|Ben)-", said), "whichever asks for more memory second"
    runs = runs_of(pod, summary)
    assert all(row["state"] == "ready" for row in summary["models"])
    assert not any(b'"shrink"' in file.read_bytes() for run in runs.values() for file in run.records_path.iterdir())
    alone, _ = compare(pod, "--fresh", models="Ann,Ben")
    assert {name: records_digest(run) for name, run in runs.items()} == {
        name: records_digest(run) for name, run in runs_of(pod, alone).items()
    }


@pytest.mark.full
def test_on_a_cpu_memory_and_cores_decide(tmp_path: Path, synthetic_root: Path) -> None:
    members = [
        Member(name="Ann", host_mb=200, sleep_s=0.2),
        Member(name="Ben", host_mb=200, sleep_s=0.2),
        Member(name="Cid", host_mb=200, busy_s=0.2),
    ]
    pod = make_crowd(tmp_path / "pod", synthetic_root, members)
    summary, _ = compare(pod, "--together", "--gpu-memory-limit", "600MB")
    measured = table(pod)
    assert all(200 < measured[name]["host_mb"] < 290 for name in measured), "the memory that they really take"
    assert measured["Ann"]["cores"] < 0.5 < measured["Cid"]["cores"]
    assert measured["Ann"]["device_mb"] is None
    runs = runs_of(pod, summary)
    assert any(run.header.neighbours for run in runs.values())
    assert not all(len(run.header.neighbours) == 2 for run in runs.values()), "three need more than 600 MB"


def test_a_damaged_table_is_said_before_anything_runs(tmp_path: Path, synthetic_root: Path) -> None:
    pod = make_crowd(tmp_path / "pod", synthetic_root, [Member(name="Ann")])
    (pod.folder / "repository").mkdir()
    (pod.folder / "repository" / "memory.json").write_text('{"schema": 1, "rows": [')
    done = pod.type("compare", "--models", "Ann", "--data", pod.folder / "data", "--together")
    assert done.returncode == 2
    assert "memory.json, which says how much memory models take, is damaged" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list((pod.folder / "repository" / "runs").glob("*"))
    ran = pod.type("run", "Ann", "--data", pod.folder / "data", "--run", "one")
    assert ran.returncode == 0, "a run goes on without the table"
    assert "was measured and not written down" in ran.stderr

    (pod.folder / "repository" / "memory.json").unlink()
    assert pod.type("run", "Ann", "--data", pod.folder / "data", "--run", "two").returncode == 0
    shown = pod.type("models", "memory", "Ann", "--json")
    row = json.loads(shown.stdout)["rows"][0]
    assert (row["key"]["model"], row["run"], row["gpu_mb"]) == ("Ann", "two", None)
    assert 30 < row["host_mb"] < 200
    assert "never measured here: Chain" in pod.type("models", "memory", "Chain").stdout
