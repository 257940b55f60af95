"""Jobs in processes of their own: they end, are stopped, killed, tried again, and found out when they are too late."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from tests.service.jobs.conftest import PATIENCE_S, Jobs

from admlops.service.jobs.pool import RunnerPool
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Status
from admlops.service.queue.jobs import JobQueue

LONG = {"steps": 1000, "pause_s": 0.1}


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_job_is_done_in_a_process_of_its_own_and_copied(
    jobs: Jobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_TOKEN", "hidden-word")
    first = jobs.queue.submit("light", {"steps": 3})
    refused = jobs.queue.submit("light", {"then": "refuse"})
    runner = jobs.start_runner(backup=tmp_path / "volume")
    done = jobs.wait(first)
    assert (done.status, done.attempt, done.progress) == (Status.COMPLETED, 1, {"step": 2})
    assert done.output["pid"] not in (os.getpid(), None)
    assert done.output["secret"] is None
    assert [chunk.content for chunk in jobs.queue.take_chunks(first.id)] == [{"step": step} for step in range(3)]
    assert f"light, attempt 1 of job {first.id}" in jobs.log(first)
    said = jobs.wait(refused)
    assert (said.status, said.error_class, said.attempt) == (Status.FAILED, "Usage", 1)
    assert said.error == "this is refused\n  → ask for something else"
    assert [one.owner for one in jobs.queue.runners()] == [runner.owner]
    jobs.stop()
    assert jobs.queue.runners() == []
    new_pod = str(tmp_path / "new" / "queue.sqlite3")
    copy = JobQueue(open_database(new_pod, backup=tmp_path / "volume"))
    assert copy.get(first.id) == done
    assert copy.get(refused.id) == said
    copy.database.close()


def test_a_job_in_progress_is_cancelled(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", LONG)
    jobs.start_runner()
    jobs.wait_for_chunk(job)
    pid = jobs.find_process(job)
    jobs.queue.cancel(job.id)
    assert jobs.wait(job).status is Status.CANCELLED
    wait_gone(pid)


@pytest.mark.full
def test_a_job_whose_process_is_killed_is_tried_again(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", {"steps": 3, "pause_s": 0.3})
    jobs.start_runner()
    jobs.wait_for_chunk(job)
    os.kill(jobs.find_process(job), signal.SIGKILL)
    waits = jobs.wait(job, lambda job: job.status is Status.IN_QUEUE)
    assert (waits.error_class, waits.attempt) == ("crash", 1)
    assert "SIGKILL" in str(waits.error)
    done = jobs.wait(job)
    assert (done.status, done.attempt, done.error) == (Status.COMPLETED, 2, None)
    assert len(jobs.queue.chunks_after(job.id)) == 3


@pytest.mark.full
def test_a_job_that_takes_too_long_is_stopped(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", LONG, execution_timeout_s=1)
    jobs.start_runner()
    done = jobs.wait(job)
    assert (done.status, done.error_class, done.attempt) == (Status.TIMED_OUT, "timeout", 1)
    assert done.error == "the job took longer than its execution timeout of 1 s"


@pytest.mark.full
def test_a_job_that_hears_nothing_is_killed(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", {**LONG, "then": "deaf"})
    late = jobs.queue.submit("light", {**LONG, "then": "deaf"}, execution_timeout_s=1)
    jobs.start_runner()
    jobs.wait_for_chunk(job)
    pid = jobs.find_process(job)
    jobs.queue.cancel(job.id)
    assert jobs.wait(job).status is Status.CANCELLED
    wait_gone(pid)
    assert jobs.wait(late).status is Status.TIMED_OUT


@pytest.mark.full
@pytest.mark.parametrize(
    ("then", "kind", "word"),
    [("exit", "crash", "code 7"), ("disk", "Storage", "the disk is full"), ("defect", "defect", "ZeroDivisionError")],
)
def test_what_fails_is_tried_again_until_no_attempt_is_left(jobs: Jobs, then: str, kind: str, word: str) -> None:
    fails_once = jobs.queue.submit("light", {"then": then, "until": 1})
    fails = jobs.queue.submit("light", {"then": then}, max_attempts=2)
    jobs.start_runner()
    jobs.start_runner()
    done = jobs.wait(fails_once)
    assert (done.status, done.attempt) == (Status.COMPLETED, 2)
    failed = jobs.wait(fails)
    assert (failed.status, failed.attempt, failed.error_class) == (Status.FAILED, 2, kind)
    assert word in str(failed.error)


@pytest.mark.full
def test_an_answer_that_is_no_json_is_a_defect(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", {"then": "not json"}, max_attempts=1)
    jobs.start_runner()
    done = jobs.wait(job)
    assert (done.status, done.error_class) == (Status.FAILED, "defect")
    assert "type object" in str(done.error)


@pytest.mark.full
def test_a_stopped_process_is_ended_by_the_next_attempt(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", {"steps": 3, "pause_s": 1.0})
    jobs.start_runner()
    jobs.start_runner()
    jobs.wait_for_chunk(job)
    pid = jobs.find_process(job)
    os.kill(pid, signal.SIGSTOP)
    done = jobs.wait(job)
    assert (done.status, done.attempt) == (Status.COMPLETED, 2)
    wait_gone(pid)


@pytest.mark.full
def test_a_runner_that_ends_gives_its_job_back(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", LONG, max_attempts=1)
    jobs.start_runner()
    jobs.wait_for_chunk(job)
    pid = jobs.find_process(job)
    jobs.stop()
    wait_gone(pid)
    back = jobs.wait(job, lambda job: job.status is Status.IN_QUEUE)
    assert (back.attempt, back.last_attempt, back.error) == (1, 2, None)


@pytest.mark.full
def test_a_killed_runner_takes_its_job_along_and_another_goes_on(jobs: Jobs) -> None:
    job = jobs.queue.submit("light", {"steps": 3, "pause_s": 1.0})
    pool = RunnerPool(jobs.layout, jobs.settings, count=2)
    pool.start()
    try:
        jobs.wait_for_chunk(job)
        pid = jobs.find_process(job)
        os.kill(psutil.Process(pid).ppid(), signal.SIGKILL)
        wait_gone(pid)
        done = jobs.wait(job)
        assert (done.status, done.attempt) == (Status.COMPLETED, 2)
        deadline = time.monotonic() + PATIENCE_S
        while len(pool.pids) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        pids = pool.pids
        pool.stop()
    for pid in pids:
        wait_gone(pid)


@pytest.mark.full
def test_runners_end_with_whoever_started_them(jobs: Jobs, tmp_path: Path) -> None:
    program = f"""
import time
from pathlib import Path
from admlops.core.paths import find_layout
from admlops.service.jobs.pool import RunnerPool
from admlops.service.jobs.settings import JobSettings
pool = RunnerPool(find_layout(), JobSettings(database={jobs.settings.database!r}, data_roots=()), count=1)
pool.start()
while not pool.pids:
    time.sleep(0.05)
print(pool.pids[0], flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as service:
        assert service.stdout is not None
        pid = int(service.stdout.readline())
        service.kill()
    wait_gone(pid)
