"""How long models take for a sample, as a histogram: read once from the records of each run that a job has made.

The records are on disk, and a run may have gigabytes of them. So a scrape never waits: it tells what was read so far,
and lets a thread read on.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from admlops.core.errors import AdmlopsError
from admlops.results.run_folder import RunFolder
from admlops.service.queue.job import Job, Status
from admlops.service.queue.jobs import JobQueue

log = logging.getLogger(__name__)

BUCKETS_S = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""From a small detector on a large GPU to a BEV model on a CPU."""


class _Metadata(msgspec.Struct):
    inference_time: float | None = None


class _Line(msgspec.Struct):
    metadata: _Metadata


_decode = msgspec.json.Decoder(_Line).decode


class InferenceTimes(Collector):
    """The histogram `admlops_inference_seconds{model}` over the runs of jobs that ended since the service began.

    Args:
        queue: tells which jobs have ended.
        runs: the folder of all runs.
    """

    def __init__(self, queue: JobQueue, runs: Path) -> None:
        self._queue = queue
        self._runs = runs
        self._histogram = Histogram(
            "admlops_inference_seconds",
            "Time of the model call for one sample.",
            ["model"],
            buckets=BUCKETS_S,
            registry=CollectorRegistry(),
        )
        self._cursor = queue.changes().cursor
        self._read: set[str] = set()
        self._reading = threading.Lock()

    def describe(self) -> Iterator[Metric]:
        """Tell nothing before it is asked."""
        return iter(())

    def collect(self) -> Iterator[Metric]:
        """Tell what was read so far, and let a thread read on."""
        threading.Thread(target=self.catch_up, name="inference-times", daemon=True).start()
        for family in self._histogram.collect():
            family.samples = [one for one in family.samples if not one.name.endswith("_created")]
            yield family

    def catch_up(self) -> None:
        """Read the runs of jobs that have ended since the last time; return at once if somebody else reads already."""
        if not self._reading.acquire(blocking=False):
            return
        try:
            changes = self._queue.changes(self._cursor)
            for job_id in changes.ids:
                job = self._queue.get(job_id)
                if job is not None and job.status is Status.COMPLETED:
                    self._read_job(job)
            self._cursor = changes.cursor
        except AdmlopsError as error:
            log.warning("inference times: %s", error.message)
        finally:
            self._reading.release()

    def _read_job(self, job: Job) -> None:
        for name in runs_of(job.output):
            path = self._runs / name
            if name in self._read or not (path / "run.json").is_file():
                continue
            self._read.add(name)
            try:
                self._read_run(RunFolder.open(path))
            except AdmlopsError as error:
                log.warning("inference times of %s: %s", name, error.message)

    def _read_run(self, run: RunFolder) -> None:
        observe = self._histogram.labels(run.header.model).observe
        for scene in run.complete_scenes():
            for line, _ in run.lines_of(scene):
                seconds = _decode(line).metadata.inference_time
                if seconds is not None:
                    observe(seconds)


def runs_of(output: Any) -> Iterator[str]:
    """Yield the names of the runs that a job's answer tells of: a run's own, or those of a comparison's rows."""
    if isinstance(output, dict):
        name = output.get("run")
        if isinstance(name, str) and Path(name).name == name:
            yield name
        for inner in output.values():
            yield from runs_of(inner)
    elif isinstance(output, list):
        for inner in output:
            yield from runs_of(inner)
