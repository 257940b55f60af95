"""Whether the service can do its work: its database takes writes, its disks have room, its GPUs are there."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import replace

from sqlalchemy import delete, insert
from starlette.concurrency import run_in_threadpool

from admlops.core.errors import AdmlopsError, StorageError
from admlops.health.machine import Gpus
from admlops.pipeline.health import disk
from admlops.pipeline.health.check import Finding, HealthCheck, Place
from admlops.pipeline.health.gpu import judge_presence
from admlops.pipeline.health.report import HealthReport, run_checks
from admlops.service.queue.jobs import JobQueue
from admlops.service.queue.tables import RUNNERS

KEPT_S = 5.0
"""How long an answer holds: anybody may ask, so asking must cost nothing."""
ANSWER_S = 4.0
"""How long one check may take; a probe waits no longer."""
PROBE = "readiness-probe"


class Readiness:
    """Answers whether the service is ready; many who ask at once share one look.

    `place` is what the checks look at; `runners` how many the service starts itself.
    """

    def __init__(self, queue: JobQueue, place: Place, *, runners: int) -> None:
        self._queue = queue
        self._place = place
        self._runners = runners
        database = HealthCheck(id="database", title="Database", look=self._look_at_database)
        gpus = HealthCheck(id="gpu", title="GPUs", look=_look_at_gpus)
        self._checks = tuple(_one_at_a_time(check) for check in (database, disk.CHECK, gpus))
        self._looking = asyncio.Lock()
        self._report: HealthReport | None = None
        self._looked_at = 0.0
        self._begun = False

    async def report(self) -> HealthReport:
        """Return how it stands, at most `KEPT_S` ago."""
        async with self._looking:
            if self._report is None or time.monotonic() - self._looked_at > KEPT_S:
                self._report = await run_in_threadpool(run_checks, self._checks, self._place)
                self._begun = self._begun or (
                    self._report.status != "fail" and await run_in_threadpool(self._sees_runner)
                )
                self._looked_at = time.monotonic()
            return self._report

    async def has_begun(self) -> bool:
        """Tell whether the service has begun its work: it was ready once, and a runner of its own was seen."""
        if not self._begun:
            await self.report()
        return self._begun

    def _sees_runner(self) -> bool:
        try:
            return not self._runners or bool(self._queue.runners())
        except AdmlopsError:
            return False

    def _look_at_database(self, _: Place) -> Iterator[Finding]:
        """Write a row and remove it: a database that is full or read-only can still be read."""
        begun = time.monotonic()
        row = {"owner": PROBE, "host": "", "pid": 0, "endpoints": "[]", "started": 0.0, "seen": 0.0}
        with self._queue.database.write() as connection:
            connection.execute(delete(RUNNERS).where(RUNNERS.c.owner == PROBE))
            connection.execute(insert(RUNNERS).values(row))
            connection.execute(delete(RUNNERS).where(RUNNERS.c.owner == PROBE))
        yield Finding(measure="takes writes in", value=round(1e3 * (time.monotonic() - begun), 1), unit="ms")


def _one_at_a_time(check: HealthCheck) -> HealthCheck:
    """Return a check that is not begun again while it still waits: probes come for ever, each would leave a thread."""
    waits = threading.Lock()

    def look(place: Place) -> Iterable[Finding]:
        if not waits.acquire(blocking=False):
            raise StorageError("an earlier look still waits for its answer", hint="dmesg | tail; df -h")
        try:
            return tuple(check.look(place))
        finally:
            waits.release()

    return replace(check, look=look, deadline_s=ANSWER_S)


def _look_at_gpus(place: Place) -> Iterator[Finding]:
    yield judge_presence(place, Gpus(place.nvml).describe())
