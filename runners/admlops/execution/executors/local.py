"""A run's scenes over its workers. What a record says never depends on which worker made it, or on how many there are.

Each worker is driven by one thread, which takes scenes from a common list, the longest first. A scene that fails is
done again from its first sample, in a fresh worker, because models carry state from sample to sample.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from admlops.core.errors import StorageError
from admlops.execution.coordinator import Board
from admlops.execution.process_cleanup import end_processes
from admlops.execution.scene_job import Job, Progress, Summary
from admlops.execution.scene_runner import Driver
from admlops.results.run_folder import RunFolder


def execute(job: Job, *, on_progress: Callable[[Progress], None]) -> Summary:
    """Run the job's scenes and write their records and events; sets the run's state. Call it from the main thread.

    `on_progress` is called in this thread. Ctrl-C and TERM cancel the run: workers are ended, the summary says so, and
    the run can be resumed. No worker outlives this call.

    Raises:
        StorageError: the disk is full or the folder read-only; whole scenes stay, the run can be resumed.
        EnvError: the environment's Python could not be started.
        DataError: a scene is too large for one request.
    """
    end_leftovers(job.run)
    job.run.update(state="running")
    board = Board(job, on_progress)
    for scene in board.done_before:
        on_progress(Progress(kind="resumed", scene=scene.name, samples=len(scene.samples)))
    threads = [
        threading.Thread(target=Driver(job, board, number).run, name=f"worker-{number}", daemon=True)
        for number in range(min(job.workers, len(board.waiting)))
    ]
    with _signals_set(board.cancelled):
        for thread in threads:
            thread.start()
        try:
            board.tell_while(threads)
        finally:
            board.cancelled.set()
            for thread in threads:
                thread.join()
    if board.error is not None:
        with suppress(StorageError):  # the disk may be what failed
            job.run.update(state="failed")
        raise board.error
    summary = board.summarize()
    job.run.update(state=summary.state)
    return summary


def end_leftovers(run: RunFolder) -> list[int]:
    """End the processes that an earlier, killed host left behind. Returns those that outlive KILL."""
    started, stopped = set(), set()
    for event in run.events():
        if event.get("event") == "worker_started":
            started.add(str(event.get("mark")))
        elif event.get("event") == "worker_stopped" and not event.get("left"):
            stopped.add(str(event.get("mark")))
    marks = frozenset(started - stopped)
    return end_processes(marks) if marks else []


@contextmanager
def _signals_set(cancelled: threading.Event) -> Iterator[None]:
    """Ctrl-C and TERM set `cancelled`, once or many times: the ending of workers is not to be cut off."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def cancel(_number: int, _frame: FrameType | None) -> None:
        cancelled.set()

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
