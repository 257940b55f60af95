"""Waiting for jobs to change: one thread asks the database on behalf of all who wait."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

from admlops.core.errors import AdmlopsError
from admlops.service.queue.jobs import JobQueue

log = logging.getLogger(__name__)

ASK_S = 1.0
"""How long one question to the queue may wait for its answer; a stop takes no longer."""
ANY = ""
"""No job's id: who watches it is woken by every job."""


class JobWatcher:
    """Wakes those who watch a job. Begin it in the loop that they wait in."""

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._watching: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watch(self, job_id: str) -> Iterator[asyncio.Event]:
        """Give an event that is set whenever the job changes, or any job does (`ANY`): clear it, look, then wait."""
        event = asyncio.Event()
        self._watching[job_id].add(event)
        try:
            yield event
        finally:
            events = self._watching[job_id]
            events.discard(event)
            if not events:
                del self._watching[job_id]

    def begin(self) -> None:
        """Begin to ask."""
        loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._ask, args=(loop,), name="job-watcher", daemon=True)
        self._thread.start()

    def wake_all(self) -> None:
        """Wake everybody, such as for a stop."""
        for events in self._watching.values():
            for event in events:
                event.set()

    def end(self) -> None:
        """Stop asking; returns when the thread is gone."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _ask(self, loop: asyncio.AbstractEventLoop) -> None:
        cursor: int | None = None
        while not self._stop.is_set():
            try:
                changes = self._queue.changes(cursor, timeout_s=ASK_S)
            except AdmlopsError as error:  # the database is away: those who wait look for themselves at their end
                log.warning("%s", error.message)
                self._stop.wait(ASK_S)
                continue
            cursor = changes.cursor
            if changes.ids and not self._stop.is_set():
                loop.call_soon_threadsafe(self._wake, changes.ids)

    def _wake(self, ids: tuple[str, ...]) -> None:
        for job_id in (*ids, ANY):
            for event in self._watching.get(job_id, ()):
                event.set()
