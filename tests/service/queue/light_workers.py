"""Processes that take jobs which do next to nothing, to be killed in the middle of anything."""

from __future__ import annotations

import os
import signal
import time
from multiprocessing import get_context
from multiprocessing.context import ForkProcess
from pathlib import Path

from admlops.core.errors import AdmlopsError
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Status
from admlops.service.queue.jobs import JobQueue

LEASE_S = 1.0
WORK_S = 0.01


def start_worker(url: str, notes: Path) -> ForkProcess:
    """Start a process that works until it is killed. It is forked: what it needs is imported already."""
    process = get_context("fork").Process(target=work, args=(url, str(notes)), daemon=True)
    process.start()
    return process


def kill(process: ForkProcess) -> None:
    """Kill a process as the kernel does for want of memory."""
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()


def work(url: str, notes: str) -> None:
    """Take and finish jobs; a line for each that the queue accepted. A database that is away is waited for."""
    owner = f"worker-{os.getpid()}"
    while True:
        try:
            _work(JobQueue(open_database(url)), owner, Path(notes))
        except AdmlopsError as error:
            with (Path(notes) / f"{owner}.error").open("a") as file:
                file.write(f"{error}\n")


def _work(queue: JobQueue, owner: str, notes: Path) -> None:
    with (notes / owner).open("ab", buffering=0) as file:
        while True:
            job = queue.claim(owner, LEASE_S)
            if job is None:
                queue.reap()
                time.sleep(0.02)
                continue
            queue.add_chunk(job, {"n": job.input["n"]}, key="only")
            time.sleep(WORK_S)
            if queue.finish(job, Status.COMPLETED, output={"n": job.input["n"], "attempt": job.attempt}):
                file.write(f"{job.id}\n".encode())


def hold(url: str, lease_s: float, told: str) -> None:
    """Take a job, say so, wait to be stopped, and answer once continued; `told` is a folder for both."""
    queue = JobQueue(open_database(url))
    job = queue.claim("sleeper", lease_s)
    assert job is not None
    folder = Path(told)
    (folder / "claimed").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)
    accepted = queue.finish(job, Status.COMPLETED, output="late")
    (folder / "answer.part").write_text(str(accepted))
    (folder / "answer.part").rename(folder / "answer")
