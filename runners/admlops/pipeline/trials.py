"""One setting of throughput mode, tried on a run's own samples: how many samples a second, and what a sample costs.

A trial is a run of its own in a folder that is thrown away. Its scenes are those of the run, again and again, so that
no worker waits for one. What is measured lies between the moment when every worker has warmed up and the end of the
window; the trial is then stopped.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec

from admlops.evaluation.energy.report import summarize_energy
from admlops.evaluation.energy.windows import read_lines
from admlops.execution.cancel import CancelToken
from admlops.execution.coordinator import execute
from admlops.execution.executor import Executor
from admlops.execution.messages import Usage
from admlops.execution.scene_job import Job, RunEvent, SceneJob, Summary
from admlops.health.telemetry import TelemetrySampler
from admlops.pipeline.run_request import AUTO_BATCH
from admlops.pipeline.run_watch import used_gpus, workers_a_device
from admlops.pipeline.usage_meter import count_cores
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder

SHORTEST_S = 2.0
"""A window holds at least so much time: energy counters move every 0.1 s."""
SAMPLES_A_WORKER = 10
BATCHES_A_WORKER = 4
LONGEST_S = 30.0
"""Past this a window is closed with two samples a worker."""
SETTLED_BATCHES = 3
"""A worker tries each size of batch twice (`worker/batches.py`); a third batch of a size shows that it stays."""
SAMPLES_IN_STORE = 20_000
"""The scenes are repeated up to so many samples: more than a window takes."""

JobMaker = Callable[[RunFolder, tuple[SceneJob, ...]], Job]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A setting and what it came to. `workers` are on each device; `batch` is the size that its batches had.

    `gpu_mb` is how much of a GPU all its workers took, `host_mb` of the machine's memory. `cores` is how many a worker
    kept busy, or would have, had they been free; None where it was not measured. `energy` says how `j_per_sample` was
    measured, idle power included, or why it was not. `failed` says why there is no rate.
    """

    workers: int
    batch: int
    samples_per_s: float | None
    j_per_sample: float | None
    samples: int
    seconds: float
    gpu_mb: float | None
    host_mb: float
    cores: float | None
    energy: str
    failed: str = ""

    def to_json(self) -> dict[str, Any]:
        return msgspec.to_builtins(self)  # type: ignore[no-any-return]  # a dataclass becomes a dictionary


class LinkedToken(CancelToken):
    """A token that can be set by itself, and is set with another one."""

    def __init__(self, other: CancelToken) -> None:
        super().__init__()
        self._other = other

    @property
    def is_cancelled(self) -> bool:
        """True once either was asked to stop."""
        return super().is_cancelled or self._other.is_cancelled


class Window:
    """Counts answers from the moment when every worker is warm; `is_over` says that it has seen enough.

    Args:
        workers: how many there are in all.
        batch: what they take at once; AUTO_BATCH is settled when a size comes several times in a row.
        clock: gives the time [s].
    """

    def __init__(
        self, *, workers: int, batch: int | Literal["auto"], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._workers = workers
        self._is_searching = batch == AUTO_BATCH
        self._clock = clock
        self._answered: Counter[int] = Counter()
        self._in_a_row: Counter[int] = Counter()
        self._begun: float | None = None
        self._last = 0.0
        self._sizes: Counter[int] = Counter()
        self._size: dict[int, int] = {}
        self.samples = 0

    @property
    def seconds(self) -> float:
        """How long it is so far."""
        return 0.0 if self._begun is None else self._last - self._begun

    @property
    def batch(self) -> int:
        """The size that most of its batches had."""
        return self._sizes.most_common(1)[0][0] if self._sizes else 1

    @property
    def has_begun(self) -> bool:
        return self._begun is not None

    @property
    def is_over(self) -> bool:
        wanted = self._workers * max(SAMPLES_A_WORKER, BATCHES_A_WORKER * self.batch)
        if self.seconds >= LONGEST_S:
            return self.samples >= 2 * self._workers
        return self.seconds >= SHORTEST_S and self.samples >= wanted

    def take(self, worker: int, size: int) -> None:
        """Take an answer of a worker, of a batch of `size`."""
        if self._begun is not None:
            self._last = self._clock()
            self.samples += 1
            self._sizes[size] += 1
            return
        self._in_a_row[worker] = self._in_a_row[worker] + 1 if self._size.get(worker) == size else 1
        self._size[worker] = size
        self._answered[worker] = self._in_a_row[worker] // size
        wanted = SETTLED_BATCHES if self._is_searching else 1
        if len(self._answered) == self._workers and all(count >= wanted for count in self._answered.values()):
            self._begun = self._last = self._clock()
            self._sizes[size] += 1


class _TrialWatch:
    """What a trial's events say: the window that is measured, what each worker takes, and when the window is over.

    `sampler` is told of phases and answers; set it before the first event. `token` stops the trial.
    """

    sampler: TelemetrySampler

    def __init__(self, window: Window, token: LinkedToken) -> None:
        self.window = window
        self.token = token
        self.first: dict[int, Usage] = {}
        self.last: dict[int, Usage] = {}
        self._pids: dict[int, int] = {}

    def worker_pids(self) -> tuple[int, ...]:
        """Return the workers' processes so far."""
        return tuple(self._pids.values())

    def take(self, event: RunEvent) -> None:
        """Take the next event of the trial's run."""
        if event.kind == "worker" and event.pid is not None:
            self._pids[event.worker] = event.pid
        if event.kind in ("retry", "skip"):
            self.token.cancel()  # a setting in which a worker fails must not be taken
        if event.kind != "sample" or event.failure is not None or self.token.is_cancelled:
            return
        if event.usage is not None:
            self.first.setdefault(event.worker, event.usage)
            self.last[event.worker] = event.usage
        counts = self.window.has_begun
        self.window.take(event.worker, event.batch)
        if counts:
            self.sampler.count(1)
        elif self.window.has_begun:
            self.sampler.enter("measure")
        if self.window.is_over:
            self.sampler.enter("end")
            self.token.cancel()


def run_trial(
    make_job: JobMaker,
    header: RunHeader,
    scenes: Sequence[SceneJob],
    executor: Executor,
    *,
    folder: Path,
    batch: int | Literal["auto"],
    cancel: CancelToken,
) -> Trial:
    """Try a setting: the executor's workers, at the size of batch in the settings of `header`.

    Args:
        make_job: makes the work of a folder and its scenes.
        folder: where the trial's run may be; it is not there yet.
        cancel: stops the trial; `failed` says so then.

    Raises:
        StorageError: the disk is full.
        EnvError: the environment's Python could not be started.
    """
    stored = tuple(_repeat(scenes))
    trial = msgspec.structs.replace(
        header, run=folder.name, scenes={scene.name: len(scene.samples) for scene in stored}
    )
    run = RunFolder.create(folder, trial)
    watch = _TrialWatch(Window(workers=len(executor.slots()), batch=batch), LinkedToken(cancel))
    used = used_gpus(executor)
    with (
        run.lock(),
        TelemetrySampler(run.telemetry_path, worker_pids=watch.worker_pids, used=used) as sampler,
    ):
        watch.sampler = sampler
        summary = execute(make_job(run, stored), executor=executor, on_event=watch.take, cancel=watch.token)
        gpu_mb = sampler.gpu_memory_growth_mb if header.device_kind == "cuda" else None
    window = watch.window
    host_mb = sum(one.host_peak_mb for one in watch.last.values())
    found = Trial(
        workers=workers_a_device(executor),
        batch=window.batch,
        samples_per_s=None,
        j_per_sample=None,
        samples=window.samples,
        seconds=round(window.seconds, 3),
        gpu_mb=None if gpu_mb is None else round(gpu_mb, 1),
        host_mb=round(max(host_mb, sampler.worker_memory_peak_mb), 1),
        cores=count_cores(watch.first, watch.last),
        energy="",
    )
    failed = _find_failure(summary, window, cancel)
    if failed:
        return replace(found, failed=failed)
    energy = summarize_energy(read_lines(run.telemetry_path), on_gpu=header.device_kind == "cuda")
    joules = energy.per_sample(energy.gross_j)
    return replace(
        found,
        samples_per_s=window.samples / window.seconds,
        j_per_sample=joules,
        energy=energy.reason if joules is None else f"{energy.method}, idle included, {energy.scope}",
    )


def _find_failure(summary: Summary, window: Window, cancel: CancelToken) -> str:
    """Say why a trial has no result; empty if it has one."""
    if cancel.is_cancelled:
        return "stopped"
    failure = next((one for one in summary.failures if one.kind != "cancelled"), None)
    if failure is not None:
        return f"{failure.kind}: {failure.summary}"
    return "" if window.seconds > 0 else "too few samples were answered"


def _repeat(scenes: Sequence[SceneJob]) -> Iterable[SceneJob]:
    """The scenes again and again, each time under another name."""
    whole = sum(len(scene.samples) for scene in scenes)
    for number in range(math.ceil(SAMPLES_IN_STORE / max(1, whole))):
        for scene in scenes:
            yield replace(scene, name=f"{scene.name} {number}")
