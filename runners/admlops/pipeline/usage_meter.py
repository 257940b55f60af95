"""Measuring what one worker of a run takes, from the run's own events, while it has its device to itself."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from admlops.core.errors import AdmlopsError
from admlops.core.types import Say
from admlops.execution.messages import Usage
from admlops.execution.scene_job import RunEvent
from admlops.health.telemetry import TelemetrySampler
from admlops.pipeline.memory_table import MemoryRow, MemoryTable, is_measured_with, key_of
from admlops.results.run_folder import RunFolder


class UsageMeter:
    """Follows a run's events; `note` writes down what was measured so far, after the first scene and at the end.

    A worker that was started again after a failure is not measured: it may have been told to take less.
    """

    def __init__(self, table: MemoryTable, run: RunFolder, sampler: TelemetrySampler, *, workers: int) -> None:
        """`workers` is how many of the run's workers are on each device."""
        self._table = table
        self._run = run
        self._sampler = sampler
        self._workers = workers
        self._first: dict[int, Usage] = {}
        self._last: dict[int, Usage] = {}
        self._samples = 0
        self._has_failed = self._has_noted = False

    def take(self, event: RunEvent, *, say: Say) -> None:
        """Take the next event; the end of the first scene is written down at once, for whoever waits for it."""
        if event.kind in ("retry", "skip", "stop"):
            self._has_failed = True
        self._samples += event.kind == "sample"
        if event.usage is not None:
            self._first.setdefault(event.worker, event.usage)
            self._last[event.worker] = event.usage
        if event.kind == "scene" and self._samples and not self._has_noted:
            self._has_noted = True
            self.note(say=say)

    def note(self, *, say: Say) -> None:
        """Write down what a worker takes. If the table cannot be written, say so and go on with the run."""
        row = self._row()
        if row is None:
            return
        try:
            self._table.note(row, say=say)
        except AdmlopsError as error:
            say(f"what {self._run.header.model} takes was measured and not written down: {error}")

    def _row(self) -> MemoryRow | None:
        header = self._run.header
        key = key_of(header)
        if self._has_failed or not self._last or header.neighbours or not is_measured_with(key):
            return None
        reserved = [one.reserved_peak_mb for one in self._last.values() if one.reserved_peak_mb is not None]
        grown = self._sampler.gpu_memory_growth_mb if header.device_kind == "cuda" else None
        host = max(one.host_peak_mb for one in self._last.values())
        return MemoryRow(
            key=key,
            device_mb=None if grown is None else round(grown / self._workers, 1),
            reserved_mb=max(reserved, default=None),
            host_mb=round(max(host, self._sampler.worker_memory_peak_mb / max(1, len(self._last))), 1),
            cores=count_cores(self._first, self._last) if self._workers == 1 else None,
            samples=self._samples,
            run=header.run,
            adapter=header.adapter,
            measured=datetime.now(UTC).isoformat(timespec="seconds"),
        )


def count_cores(first: Mapping[int, Usage], last: Mapping[int, Usage]) -> float | None:
    """Return how many cores a worker kept busy, from its first answer to its last; None if there is only one."""
    spans = [(first[one], last[one]) for one in last]
    seconds = sum(after.clock_s - before.clock_s for before, after in spans)
    busy = sum(after.busy_s - before.busy_s for before, after in spans)
    return round(busy / seconds, 2) if seconds > 0 else None
