"""What is measured of a run while it goes on: the machine's telemetry, and what one of its workers takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.execution.executor import Executor
from admlops.execution.scene_job import RunEvent
from admlops.health.energy_estimate import EnergyEstimate
from admlops.health.telemetry import TelemetrySampler
from admlops.pipeline.memory_table import MemoryTable
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.usage_meter import UsageMeter
from admlops.results.run_folder import RunFolder

OnProgress = Callable[[RunEvent, int], None]
"""Called with each event of a run and the run's number of samples."""


def used_gpus(executor: Executor) -> list[str] | None:
    """Return the uuids of an executor's GPUs, none on a CPU; None where one of them has no uuid."""
    devices = {(slot.node, slot.device.id): slot.device for slot in executor.slots()}.values()
    uuids = [one.uuid for one in devices if one.kind == "cuda"]
    return None if None in uuids else [str(one) for one in uuids]


def workers_a_device(executor: Executor) -> int:
    """Return how many workers an executor puts on each device, at most."""
    devices = Counter((slot.node, slot.device.id) for slot in executor.slots())
    return max(devices.values(), default=1)


def is_elsewhere(executor: Executor) -> bool:
    """Tell whether workers run on other machines, of which this one can measure nothing."""
    return bool(executor.slots()[0].node)


@contextmanager
def watch_run(
    layout: Layout, run: RunFolder, executor: Executor, request: RunRequest, on_progress: OnProgress, *, say: Say
) -> Iterator[Callable[[RunEvent], None]]:
    """Measure while the block runs; the function it gives learns pids, samples and usage from the run's events.

    Before that it measures how much energy the machine takes while nothing runs, unless others run beside. A run on
    other machines has no telemetry: what this one does says nothing about it.
    """
    total = sum(run.header.scenes.values())
    if is_elsewhere(executor):
        yield lambda event: on_progress(event, total)
        return
    pids: dict[int, int] = {}
    done = 0

    def watch(event: RunEvent) -> None:
        nonlocal done
        if event.kind == "worker" and event.pid is not None:
            pids[event.worker] = event.pid
        done += event.samples
        if event.kind == "retry" or (event.kind == "sample" and event.failure is None):
            sampler.count(event.samples)
        if done >= total:
            sampler.enter("end")
        meter.take(event, say=say)
        on_progress(event, total)

    estimate = EnergyEstimate() if request.estimate_energy else None
    with TelemetrySampler(
        run.telemetry_path, worker_pids=lambda: tuple(pids.values()), used=used_gpus(executor), estimate=estimate
    ) as sampler:
        meter = UsageMeter(MemoryTable.of(layout), run, sampler, workers=workers_a_device(executor))
        if not run.header.neighbours:
            sampler.measure_idle(cancelled=lambda: request.cancel.is_cancelled)
        yield watch
        meter.note(say=say)
