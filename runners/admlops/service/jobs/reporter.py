"""The thread that speaks to the queue for a job: renews its lease, hands on what it says, and hears what is asked."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Any, Literal

from admlops.core.errors import AdmlopsError
from admlops.service.queue.job import Beat, Job
from admlops.service.queue.jobs import JobQueue

log = logging.getLogger(__name__)

Reason = Literal["lost", "cancel", "timeout"]
BEATS_A_LEASE = 4
LONGEST_BEAT_S = 2.0
"""How long a job may go without hearing that it is cancelled."""
PAUSE_S = 0.2
"""Chunks and progress are handed on at most this often: a small model does a hundred samples a second."""


class Reporter(threading.Thread):
    """Renews the lease of a job and hands on its chunks and its progress, so that the work never waits for a database.

    Args:
        on_stop: called once, from this thread, when the job is to stop; `reason` says why by then.
    """

    def __init__(self, queue: JobQueue, job: Job, *, lease_s: float, on_stop: Callable[[], None]) -> None:
        super().__init__(name=f"job {job.id}", daemon=True)
        self.reason: Reason | None = None
        self._queue = queue
        self._job = job
        self._lease_s = lease_s
        self._on_stop = on_stop
        self._lock = threading.Lock()
        self._chunks: list[tuple[str | None, Any]] = []
        self._progress: Any = None
        self._wake = threading.Event()
        self._ended = threading.Event()

    def add_chunk(self, content: Any, *, key: str | None = None) -> None:
        """Take a part of the answer, to be handed on soon."""
        with self._lock:
            self._chunks.append((key, content))
        self._wake.set()

    def progress(self, value: Any) -> None:
        """Take how far the work is; only the latest is handed on."""
        with self._lock:
            self._progress = value
        self._wake.set()

    def end(self) -> None:
        """Hand on what is left, and end. The lease is not renewed any more."""
        self._ended.set()
        self._wake.set()
        self.join()
        self._hand_on()

    def run(self) -> None:
        """Speak to the queue until `end`."""
        next_beat = time.monotonic()
        while not self._ended.is_set():
            if time.monotonic() >= next_beat:
                next_beat = time.monotonic() + min(LONGEST_BEAT_S, self._lease_s / BEATS_A_LEASE)
                self._beat()
            self._hand_on()
            self._ended.wait(PAUSE_S)
            self._wake.wait(max(0.0, next_beat - time.monotonic()))
            self._wake.clear()

    def _beat(self) -> None:
        try:
            beat = self._queue.beat(self._job, self._lease_s)
        except AdmlopsError as error:  # a database may be away for a while; the lease says for how long
            log.warning("the lease could not be renewed: %s", error.message)
            return
        reason = _reason(beat)
        if reason is not None and self.reason is None:
            self.reason = reason
            self._on_stop()

    def _hand_on(self) -> None:
        with self._lock:
            chunks, self._chunks = self._chunks, []
            progress, self._progress = self._progress, None
        try:
            if chunks:
                self._queue.add_chunks(self._job, chunks)
                chunks = []
            if progress is not None:
                self._queue.progress(self._job, progress)
        except AdmlopsError as error:
            log.warning("nothing could be handed on: %s", error.message)
            with self._lock:
                self._chunks = [*chunks, *self._chunks]
                self._progress = progress if self._progress is None else self._progress


def _reason(beat: Beat) -> Reason | None:
    if beat.lost:
        return "lost"
    if beat.cancel:
        return "cancel"
    return "timeout" if beat.timed_out else None
