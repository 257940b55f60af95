"""Samples read ahead, with real workers: the same records as read in turn, and nothing left of the readers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.execution.execution_bench import PATIENT, WORKERS, Bench, Watched
from tests.interpreters import PYTHON38

from admlops.execution.batches import Batch
from admlops.execution.cancel import CancelToken
from admlops.execution.deadlines import Deadlines
from admlops.results.run_folder import records_digest


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """Two scenes of a few samples."""
    bench.shape = {"a": 7, "b": 3}
    return bench


def go(bench: Bench, options: Mapping[str, Any] | None = None, *, prefetch: int = 2, **more: Any) -> str:
    """Run to the end; the digest of the records."""
    options = dict(options or {})
    settings = {"options": options, "prefetch": prefetch}
    summary = bench.go(options, adapter="reading.py", settings=settings, **more)
    assert summary.state == "complete"
    assert bench.tokens() == bench.all_tokens()
    assert bench.living() == []
    return records_digest(bench.run)


def go_in_turn(bench: Bench, options: Mapping[str, Any] | None = None, **more: Any) -> str:
    """The digest of the same run in a folder of its own, without readers."""
    alone = Bench(bench.folder / "alone", bench.shape)
    alone.folder.mkdir()
    return go(alone, options, prefetch=0, **more)


def statuses(bench: Bench) -> dict[str, str]:
    return {one.metadata.sample_token: one.metadata.status for one in bench.records()}


PYTHONS = [
    Path(sys.executable),
    pytest.param(
        Path(str(PYTHON38)),
        marks=pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions"),
    ),
]


@pytest.mark.parametrize("python", PYTHONS)
def test_samples_read_ahead_give_the_records_of_samples_read_in_turn(
    bench: Bench, python: Path, tmp_path: Path
) -> None:
    marks = tmp_path / "marks"
    marks.mkdir()
    failing: dict[str, Any] = {
        "unreadable": ["a-0", "a-3", "b-2"],
        "large": ["a-5"],
        "strange": ["a-4"],
        "bytes": 6_000_000,
    }
    ahead = go(bench, {**failing, "marks": str(marks)}, python=python)
    readers = {(marks / token).read_text() for token in bench.all_tokens()}
    assert 2 <= len(readers) <= 3, "the worker reads the first, and what is too large; others read the rest"
    assert statuses(bench) == {
        token: "failed" if token in failing["unreadable"] else "ok" for token in bench.all_tokens()
    }
    assert ahead == go_in_turn(bench, failing, python=python)
    assert "samples are read ahead by 2 processes" in bench.log()
    assert "DataError: a-3 cannot be read" in bench.log()


def test_batches_are_read_ahead_too(bench: Bench) -> None:
    bench.shape = {"a": 20, "b": 3}
    options = {"unreadable": ["a-0", "a-9"], "bytes": 100_000}
    ahead = go(bench, options, batch=Batch(most=8), temporal=False)
    assert statuses(bench)["a-9"] == "failed"
    assert ahead == go_in_turn(bench, options, batch=Batch(most=8), temporal=False)


def test_a_reader_that_is_killed_is_named_and_the_scene_done_again(bench: Bench) -> None:
    """By hand, from outside, while samples are on their way."""
    killed: list[int] = []

    def kill_a_reader(step: Any) -> None:
        if step.kind == "sample" and not killed:
            (worker,) = (event["pid"] for event in bench.events("worker_started"))
            children = Path(f"/proc/{worker}/task/{worker}/children").read_text().split()
            killed.append(int(children[0]))
            os.kill(killed[0], signal.SIGKILL)

    bench.progress = Watched(kill_a_reader)
    ahead = go(bench, {"read_s": 0.05})
    assert bench.failures() == [("crash", "retry")]
    (event,) = bench.events("failure")
    said = f"the process {killed[0]} that reads samples ahead was killed by SIGKILL, at sample a-"
    assert said in event["message"]
    assert ahead == go_in_turn(bench)


def test_a_sample_that_kills_its_reader_costs_what_it_costs_a_worker(bench: Bench) -> None:
    """As in a worker that reads in turn: a fresh worker once, then the scene is skipped."""
    go(bench, {"deadly": ["b-1"]})
    assert bench.failures() == [("crash", "retry"), ("crash", "skip_scene")]
    assert {token for token, status in statuses(bench).items() if status == "failed"} == {"b-1", "b-2"}
    assert all(event["message"].endswith("was killed by SIGKILL, at sample b-1") for event in bench.events("failure"))


def test_an_adapter_that_cannot_read_apart_reads_in_turn_and_says_so(bench: Bench, tmp_path: Path) -> None:
    whole = tmp_path / "whole.py"
    whole.symlink_to(WORKERS / "reading.py")
    bench.go(adapter=str(whole), settings={"options": {}, "prefetch": 2})
    assert bench.summary is not None
    assert bench.summary.ok == 10
    assert "samples are read in turn: StandIn has no `read` apart from `prepare`" in bench.log()


@pytest.mark.parametrize("end", ["cancel", "kill the worker", "deadline"])
def test_nothing_is_left_of_readers_however_a_worker_ends(bench: Bench, end: str) -> None:
    """Neither processes nor segments of shared memory: those have no name under which they could stay."""
    shared: list[str] = []
    cancel = CancelToken()
    options: dict[str, Any] = {"read_s": 0.02, "bytes": 1_000_000}
    limits = PATIENT
    if end == "deadline":
        options["forward_s"] = 600
        limits = Deadlines(start_s=60, call_s=1.0, silence_s=60, total_s=300)

    def act(step: Any) -> None:
        for pid in bench.living() if step.kind == "sample" else ():
            with suppress(OSError):  # it has just ended
                maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
                shared.extend(line for line in maps if line.split()[1] == "rw-s")
        if step.kind == "sample" and end == "cancel":
            cancel.cancel()
        if step.kind == "sample" and end == "kill the worker":
            with suppress(ProcessLookupError):
                os.kill(bench.events("worker_started")[-1]["pid"], signal.SIGKILL)

    bench.progress = Watched(act)
    settings = {"options": options, "prefetch": 2}
    bench.go(adapter="reading.py", settings=settings, cancel=cancel, deadlines=limits)
    assert bench.living(patience_s=5.0) == []
    assert len(shared) >= 4 or end == "deadline"
    assert [line for line in shared if not line.endswith("/dev/zero (deleted)")] == [], "the kernel's anonymous memory"


def test_the_host_that_is_killed_takes_the_readers_with_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tests.execution.execution_bench import Bench\n"
        "Bench(Path(sys.argv[1]), {'a': 500}).go({}, adapter='reading.py',"
        " settings={'options': {'read_s': 0.05}, 'prefetch': 2})\n"
    )
    host = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=Path(__file__).parents[2])
    bench = Bench(tmp_path, {"a": 500})
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and not (bench.path / "records" / "a.jsonl.part").exists():
        time.sleep(0.05)
    while time.monotonic() < deadline and len(bench.living()) < 3:
        time.sleep(0.05)
    host.kill()
    host.wait()
    assert bench.living(patience_s=10.0) == []
