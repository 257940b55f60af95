"""Workers that are killed or stopped in the middle of their work: every job ends once."""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from sqlalchemy import update
from tests.service.queue.light_workers import hold, kill, start_worker

from admlops.service.queue.database import open_database
from admlops.service.queue.job import FINAL, JobFilter, Status
from admlops.service.queue.jobs import JobQueue
from admlops.service.queue.tables import JOBS

WORKERS = 4
ATTEMPTS = 100
"""A worker on a busy machine may be slower than its lease: that costs an attempt too, and is no failure here."""
PATIENCE_S = 240.0


def work_under_fire(url: str, notes: Path, *, jobs: int, kills: int, hurry: bool) -> tuple[JobQueue, int]:
    """Let four workers do `jobs` jobs while one after the other is killed; return the queue, and how many began again.

    Args:
        hurry: do not wait for the back-off of jobs whose worker was killed.
    """
    queue = JobQueue(open_database(url))
    portion = jobs // (kills + 1)
    choose = random.Random(5)
    workers = [start_worker(url, notes) for _ in range(WORKERS)]
    deadline = time.monotonic() + PATIENCE_S
    try:
        for turn in range(kills):
            submit(queue, range(turn * portion, (turn + 1) * portion))
            time.sleep(choose.uniform(0.0, 0.1))
            number = choose.randrange(WORKERS)
            kill(workers[number])
            workers[number] = start_worker(url, notes)
        submit(queue, range(kills * portion, jobs))
        while (done := queue.counts().completed) < jobs and time.monotonic() < deadline:
            if hurry:
                try_at_once(queue)
            time.sleep(0.1)
    finally:
        for worker in workers:
            kill(worker)
    lost = [job for job in queue.list(limit=jobs) if job.status is not Status.COMPLETED]
    assert done == jobs, (queue.counts(), lost, [file.read_text() for file in notes.glob("*.error")])
    return queue, queue.counts().retried


def submit(queue: JobQueue, numbers: range) -> None:
    for number in numbers:
        queue.submit("light", {"n": number}, max_attempts=ATTEMPTS)


def try_at_once(queue: JobQueue) -> None:
    """Let jobs that wait for another attempt wait no longer."""
    with queue.database.write() as connection:
        queue.change_many(connection)
        late = update(JOBS).where(JOBS.c.status == Status.IN_QUEUE, JOBS.c.attempt > 0)
        connection.execute(late.values(run_after=0.0))


def check_each_ended_once(queue: JobQueue, notes: Path, jobs: int) -> None:
    found = queue.list(JobFilter(), limit=jobs + 1)
    assert Counter(job.status for job in found) == {Status.COMPLETED: jobs}
    assert sorted(job.output["n"] for job in found) == list(range(jobs))
    assert all(job.output["attempt"] == job.attempt for job in found)
    accepted = Counter(line for file in notes.glob("worker-*[0-9]") for line in file.read_text().splitlines())
    assert max(accepted.values()) == 1
    assert set(accepted) <= {job.id for job in found}
    assert all(len(queue.chunks_after(job.id)) == 1 for job in found)


def test_killed_workers(url: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    queue, _ = work_under_fire(url, notes, jobs=100, kills=5, hurry=True)
    check_each_ended_once(queue, notes, 100)
    queue.database.close()


@pytest.mark.full
def test_many_killed_workers(url: str, tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    notes.mkdir()
    queue, retried = work_under_fire(url, notes, jobs=1000, kills=20, hurry=False)
    check_each_ended_once(queue, notes, 1000)
    assert retried > 0
    queue.database.close()


def test_a_worker_that_was_stopped_past_its_lease_answers_too_late(url: str, tmp_path: Path) -> None:
    queue = JobQueue(open_database(url))
    queue.submit("light", {})
    told = tmp_path / "told"
    told.mkdir()
    sleeper = get_context("spawn").Process(target=hold, args=(url, 0.5, str(told)), daemon=True)
    sleeper.start()
    assert sleeper.pid is not None
    wait_for(told / "claimed", sleeper)
    os.kill(sleeper.pid, signal.SIGSTOP)
    while queue.reap().requeued == 0:
        time.sleep(0.05)
    with queue.database.write() as connection:
        connection.execute(update(JOBS).values(run_after=0.0))
    job = queue.claim("other", 60)
    assert job is not None
    assert queue.finish(job, Status.COMPLETED, output="in time")
    (told / "go").touch()
    os.kill(sleeper.pid, signal.SIGCONT)
    assert wait_for(told / "answer", sleeper).read_text() == "False"
    after = queue.get(job.id)
    assert after is not None
    assert after.output == "in time"
    assert after.status in FINAL
    sleeper.join()
    queue.database.close()


def wait_for(path: Path, writer: BaseProcess) -> Path:
    """Wait for a file of a process; what that process said on its way out is in the captured output."""
    deadline = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert writer.is_alive() or path.exists(), f"it ended with {writer.exitcode}"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path
