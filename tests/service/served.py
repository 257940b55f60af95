"""The real `admlops serve` in a process, without runners, and a stand-in that takes its jobs."""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from admlops.service.queue.database import open_database
from admlops.service.queue.job import Job, Status
from admlops.service.queue.jobs import JobQueue

WAITS, FAILS = 99, 98
"""Values of `limit` that make the stand-in wait to be cancelled, or fail."""


@dataclass(frozen=True, kw_only=True)
class Served:
    """A running service."""

    url: str
    process: subprocess.Popen[str]
    folder: Path
    database: str
    run_token: str
    read_token: str
    link: str | None

    def client(self, token: str | None = "", **more: Any) -> httpx.Client:
        """Return a client; with the run token unless another, or None, is given."""
        chosen = self.run_token if token == "" else token
        headers = {} if chosen is None else {"authorization": f"Bearer {chosen}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=30, **more)

    def audit(self) -> list[dict[str, Any]]:
        """Return the lines of the audit log."""
        lines = (self.folder / "service" / "audit.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def stop(self, timeout_s: float = 30) -> int:
        """Ask it to stop; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout_s)


@contextmanager
def serve(
    folder: Path, *options: str | Path, with_tokens: bool = True, variables: dict[str, str] | None = None
) -> Iterator[Served]:
    """Start the service and wait until it says that it serves."""
    folder.mkdir(parents=True, exist_ok=True)
    tokens = {"run": secrets.token_hex(16), "read": secrets.token_hex(16)}
    token_file = folder / "tokens"
    token_file.touch(mode=0o600)
    token_file.write_text(f"run alice {tokens['run']}\nread bob {tokens['read']}\n")
    database = f"sqlite:///{folder / 'jobs.sqlite3'}"
    command: list[str | Path] = [sys.executable, "-m", "admlops", "serve", "--json", "--port", "0"]
    command += ["--runners", "0", "--database", database, *options]
    if with_tokens:
        command += ["--token-file", token_file]
    environment = {**os.environ, "ADMLOPS_REP_PATH": str(folder), **(variables or {})}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True, env=environment)
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert line.startswith('{"url"'), line + process.stdout.read() + (folder / "log").read_text()
        said = json.loads(line)
        yield Served(
            url=said["url"],
            process=process,
            folder=folder,
            database=database,
            run_token=tokens["run"],
            read_token=tokens["read"],
            link=said["login"],
        )
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@contextmanager
def stand_in_runner(database: str) -> Iterator[JobQueue]:
    """Take jobs in a thread: `limit` chunks, then COMPLETED; 99 waits to be cancelled, 98 fails."""
    queue = JobQueue(open_database(database))
    stop = threading.Event()
    thread = threading.Thread(target=_take_jobs, args=(queue, stop))
    thread.start()
    try:
        yield queue
    finally:
        stop.set()
        thread.join()
        queue.database.close()


def _take_jobs(queue: JobQueue, stop: threading.Event) -> None:
    while not stop.is_set():
        job = queue.claim("stand-in", 30.0)
        if job is None:
            stop.wait(0.05)
        else:
            _do(queue, job, stop)


def _do(queue: JobQueue, job: Job, stop: threading.Event) -> None:
    limit = job.input.get("limit") or 1
    if limit == WAITS:
        queue.add_chunk(job, {"scene": "scene-0"})
        while not stop.is_set() and not queue.beat(job, 30.0).cancel:
            time.sleep(0.05)
        queue.finish(job, Status.CANCELLED)
        return
    if limit == FAILS:
        queue.finish(job, Status.FAILED, error="the weights are missing", error_class="data")
        return
    for number in range(limit):
        queue.add_chunk(job, {"scene": f"scene-{number}", "samples": 4})
    output: dict[str, Any] = {"run": f"run-of-{job.id}", "chunks": limit}
    if job.endpoint == "battle":
        sides = [job.input["model_a"], job.input["model_b"]]
        models = [{"model": one, "metrics": [{"name": "count_score", "protocol": "p", "value": 1.0}]} for one in sides]
        battle = {"verdict": f"{sides[0]} wins", "reason": "a stand-in says so"}
        output = {"winner": sides[0], "battle": battle, "models": models, "seen": job.input}
    queue.finish(job, Status.COMPLETED, output=output)
