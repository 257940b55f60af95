"""Runners for tests, with an endpoint of their own."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from admlops.core.paths import Layout, find_layout
from admlops.service.jobs.folders import job_folder, job_log
from admlops.service.jobs.runner import Runner
from admlops.service.jobs.settings import JobSettings
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Job
from admlops.service.queue.jobs import JobQueue

SITE = Path(__file__).parent / "site"
PATIENCE_S = 120.0


class Jobs:
    """A queue with runners in threads, and a repository folder of the test's own."""

    def __init__(self, layout: Layout, settings: JobSettings) -> None:
        self.layout = layout
        self.settings = settings
        self.queue = JobQueue(open_database(settings.database))
        self._runners: list[tuple[Runner, threading.Thread]] = []

    def start_runner(self, **changes: object) -> Runner:
        """Start a runner in a thread."""
        runner = Runner(self.layout, msgspec.structs.replace(self.settings, **changes))
        thread = threading.Thread(target=runner.run, name=runner.owner, daemon=True)
        thread.start()
        self._runners.append((runner, thread))
        return runner

    def stop(self) -> None:
        """End all runners."""
        for runner, _ in self._runners:
            runner.stop()
        for _, thread in self._runners:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        self._runners = []

    def wait(self, job: Job, when: Callable[[Job], bool] = lambda job: job.status.is_final) -> Job:
        """Wait until a job is as asked, at its end by default."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            found = self.queue.get(job.id)
            assert found is not None
            if when(found):
                return found
            assert time.monotonic() < deadline, (found, self.log(job))
            time.sleep(0.02)

    def wait_for_chunk(self, job: Job) -> None:
        """Wait until a job has said something: its process works."""
        self.wait(job, lambda job: bool(self.queue.chunks_after(job.id)))

    def log(self, job: Job) -> str:
        """Return a job's log; empty before there is one."""
        path = job_log(self.layout, job.id)
        return path.read_text() if path.exists() else ""

    def find_process(self, job: Job) -> int:
        """Return the process of a job that is in progress."""
        mark = msgspec.json.decode((job_folder(self.layout, job.id) / "process.json").read_bytes())["mark"]
        wanted = f"ADMLOPS_WORKER={mark}".encode()
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and wanted in (entry / "environ").read_bytes().split(b"\0"):
                    return int(entry.name)
            except OSError:
                continue
        raise AssertionError("the job has no process")


@pytest.fixture
def jobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Jobs]:
    """A queue in SQLite, and runners with short patience."""
    monkeypatch.setenv("ADMLOPS_REP_PATH", str(tmp_path / "repository"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(SITE), os.environ.get("PYTHONPATH", "")]))
    layout = find_layout()
    settings = JobSettings(
        database=f"sqlite:///{tmp_path / 'queue.sqlite3'}", data_roots=(layout.data,), lease_s=4.0, grace_s=3.0
    )
    jobs = Jobs(layout, settings)
    yield jobs
    jobs.stop()
    jobs.queue.database.close()
