"""Executing a run: its folder's state around the coordinator, and what an earlier, killed process left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from admlops.core.errors import StorageError
from admlops.execution.cancel import CancelToken
from admlops.execution.executor import Executor
from admlops.execution.process_cleanup import end_processes
from admlops.execution.run_coordinator import RunCoordinator
from admlops.execution.run_journal import OnEvent
from admlops.execution.scene_job import Job, Summary
from admlops.results.run_folder import RunFolder


def execute(
    job: Job,
    *,
    executor: Executor,
    on_event: OnEvent,
    cancel: CancelToken | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Run the job's scenes and write their records and events; sets the run's state. Call it from any thread.

    `on_event` is called in this thread. A set `cancel` ends the workers; the summary says so, and the run can be
    resumed. No worker outlives this call. `clock` tells the executor's time [s].

    Raises:
        UsageError: the executor has no such device.
        StorageError: the disk is full or the folder read-only; whole scenes stay, the run can be resumed.
        EnvError: the environment's Python could not be started.
    """
    token = cancel or CancelToken()
    executor.slots()  # report a wrong device before anything is touched
    end_abandoned_workers(job.run)
    job.run.begin()
    job.run.remove_unfinished()
    try:
        with token.watched():
            summary = RunCoordinator(job, executor, token, on_event, clock=clock).run()
    except BaseException as error:  # Ctrl-C too: whatever ends the run, its folder must not say that it goes on
        with suppress(StorageError):  # the disk may be what failed
            job.run.end(
                "cancelled" if isinstance(error, KeyboardInterrupt) else "failed",
                error=str(error) or type(error).__name__,
            )
        raise
    job.run.end(summary.state, error=None if summary.stopped_by is None else summary.stopped_by.summary)
    return summary


def end_abandoned_workers(run: RunFolder) -> list[int]:
    """End the processes that an earlier, killed host left behind. Returns those that outlive KILL."""
    started, stopped = set(), set()
    for event in run.events():
        if event.get("event") == "worker_started":
            started.add(str(event.get("mark")))
        elif event.get("event") == "worker_stopped" and not event.get("left"):
            stopped.add(str(event.get("mark")))
    marks = frozenset(started - stopped)
    return end_processes(marks) if marks else []
