"""A run gives the same records however many workers it has, and however often it was killed on the way."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.execution.execution_bench import Bench, make_header
from tests.interpreters import PYTHON38

from admlops.core.errors import EnvError, StorageError
from admlops.results.run_folder import RunFolder, records_digest

ROOT = Path(__file__).resolve().parents[2]
SHAPE = {f"s{index}": 20 for index in range(6)}
PAUSE_S = 0.004
KILLS = 10


def start_host(folder: Path, *, workers: int = 1, behaviour: str = "", at: str = "") -> subprocess.Popen[bytes]:
    arguments = [str(folder), str(len(SHAPE)), "20", str(PAUSE_S), str(workers), behaviour, at]
    return subprocess.Popen(
        [sys.executable, "-m", "tests.execution.host", *arguments], cwd=ROOT, start_new_session=True
    )


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, f"{path} did not appear"
        time.sleep(0.005)


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, float]:
    """The digest of an undisturbed run, and how long it took."""
    bench = Bench(tmp_path_factory.mktemp("calm"), dict(SHAPE))
    began = time.monotonic()
    assert bench.go({"pause_s": PAUSE_S}).state == "complete"
    assert bench.tokens() == bench.all_tokens()
    return records_digest(bench.run), time.monotonic() - began


@pytest.mark.parametrize("workers", [2, 3])
def test_the_number_of_workers_does_not_show(bench: Bench, calm: tuple[str, float], workers: int) -> None:
    bench.shape = dict(SHAPE)
    assert bench.go({"pause_s": PAUSE_S}, workers=workers).state == "complete"
    assert records_digest(bench.run) == calm[0]
    assert {event["worker"] for event in bench.events("worker_started")} == set(range(workers))


def test_the_workers_python_does_not_show(bench: Bench, calm: tuple[str, float]) -> None:
    if PYTHON38 is None:
        pytest.skip("needs a python3.8 on PATH or in ~/.pyenv/versions")
    bench.shape = dict(SHAPE)
    assert bench.go(python=PYTHON38).state == "complete"
    assert bench.events("worker_ready")[0]["python"].startswith("3.8")
    assert records_digest(bench.run) == calm[0]


@pytest.mark.parametrize("seed", range(KILLS))
def test_a_killed_host_resumes_to_the_same_records(bench: Bench, calm: tuple[str, float], seed: int) -> None:
    digest, duration_s = calm
    bench.shape = dict(SHAPE)
    host = start_host(bench.folder, workers=1 + seed % 2)
    wait_for(bench.path / "run.json")
    time.sleep(random.Random(seed).uniform(0.0, duration_s))
    host.kill()
    host.wait()
    before = set(bench.run.complete_scenes())
    if bench.events("worker_started"):
        assert bench.living(patience_s=60.0) == []

    summary = bench.go({"pause_s": PAUSE_S}, workers=1 + seed % 3)
    assert summary.state == "complete"
    assert bench.tokens() == bench.all_tokens()
    assert records_digest(bench.run) == digest
    assert {step.scene for step in bench.progress if step.kind == "resumed"} == before
    assert sum(step.samples for step in bench.progress) == 120
    assert list(bench.path.rglob("*.part")) == []


def test_what_a_killed_host_left_running_is_ended_on_resume(bench: Bench) -> None:
    bench.shape = dict(SHAPE)
    host = start_host(bench.folder, behaviour="breed", at="s1-0")
    wait_for(bench.path / "records" / "s1.jsonl")
    host.kill()
    host.wait()
    assert bench.living(), "the stand-in's stubborn children should outlive it"
    bench.go()
    assert bench.living() == []
    assert bench.tokens() == bench.all_tokens()


def test_a_host_told_to_end_leaves_nothing_running(bench: Bench) -> None:
    bench.shape = dict(SHAPE)
    host = start_host(bench.folder, behaviour="breed", at="s1-0")
    wait_for(bench.path / "records" / "s1.jsonl")
    host.send_signal(signal.SIGTERM)
    assert host.wait(timeout=30) == 1
    assert bench.living() == []
    assert bench.run.header.state == "cancelled"


def test_two_hosts_do_not_share_a_folder(bench: Bench) -> None:
    bench.shape = dict(SHAPE)
    host = start_host(bench.folder)
    wait_for(bench.path / "events.jsonl")
    with pytest.raises(StorageError, match="in use by another process"):
        bench.go()
    assert host.wait(timeout=60) == 0
    assert bench.tokens() == bench.all_tokens()


def test_a_complete_run_starts_no_worker(bench: Bench) -> None:
    bench.go()
    started = len(bench.events("worker_started"))
    assert bench.go().ok == 12
    assert len(bench.events("worker_started")) == started


def test_a_full_disk_stops_the_run_and_loses_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    RunFolder.create(bench.path, make_header(bench.shape))
    part = bench.path / "records" / "b.jsonl.part"
    remove = RunFolder.remove_unfinished

    def fill_the_disk(run: RunFolder) -> None:
        remove(run)
        part.symlink_to("/dev/full")  # every write there fails as on a full disk

    monkeypatch.setattr(RunFolder, "remove_unfinished", fill_the_disk)
    with pytest.raises(StorageError, match=r"b\.jsonl\.part could not be written: No space left on device"):
        bench.go()
    assert bench.living() == []
    assert bench.run.header.state == "failed"
    assert bench.run.complete_scenes() == ["a"]
    monkeypatch.undo()
    part.unlink(missing_ok=True)
    assert bench.go().state == "complete"
    assert bench.tokens() == bench.all_tokens()


def test_a_records_folder_that_cannot_be_written_is_an_error_that_names_it(bench: Bench) -> None:
    RunFolder.create(bench.path, make_header(bench.shape))
    (bench.path / "records").rmdir()
    (bench.path / "records").write_text("a file where the folder was")
    with pytest.raises(StorageError, match="records"):
        bench.go()
    (bench.path / "records").unlink()
    assert bench.go().state == "complete"


def test_a_missing_interpreter_names_it_and_the_run_can_be_resumed(bench: Bench) -> None:
    with pytest.raises(EnvError, match="/no/such/python could not be started"):
        bench.go(python=Path("/no/such/python"))
    assert bench.go().state == "complete"


def test_an_error_in_the_progress_display_ends_the_workers(bench: Bench) -> None:
    class Broken(list):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            raise RuntimeError("the terminal is gone")

    bench.progress = Broken()
    with pytest.raises(RuntimeError, match="the terminal is gone"):
        bench.go({"pause_s": 0.05})
    assert bench.living() == []
    bench.progress = []
    assert bench.go().state == "complete"
