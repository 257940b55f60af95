"""One watch of the queue for all open pages.

However many pages are open, one thread asks the database whether a job changed, and only while a page is open. Each topic
(the overview, a job, a run) is made once when something changes, or at its tick, and all its readers get the same text.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from admlops.core.errors import AdmlopsError
from admlops.service.dashboard.live.topic import Topic, View
from admlops.service.queue.jobs import JobQueue

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
"""Proxies cut connections that are silent for longer, the strictest after about a minute."""
WATCH_S = 1.0
AT_LEAST_S = 0.2
"""Between two looks at one view, however often jobs change."""
LINGER_S = 10.0
"""How long a topic is kept without readers: a browser that comes back at once finds what it knew."""


class Hub:
    """Topics by their names, and the watch that wakes them. Use it from the event loop's thread."""

    def __init__(self, queue: JobQueue, stopping: asyncio.Event) -> None:
        self.boot = secrets.token_hex(4)
        self.topics: dict[str, Topic] = {}
        self.watches = 0
        """How many watches of the queue were begun; one runs at a time."""
        self._queue = queue
        self._stopping = stopping
        self._versions = itertools.count(1)
        self._watch: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="dashboard-watch")

    async def stream(self, name: str, make: Callable[[], View], last_id: str) -> AsyncIterator[str]:
        """Yield events until the reader goes or the service stops.

        Args:
            name: of the topic; `make` makes its view if nobody reads it yet.
            last_id: the header Last-Event-ID; one of another process means that everything is sent.
        """
        topic = self._join(name, make)
        known = self._parse(last_id)
        try:
            while not self._stopping.is_set():
                changed = topic.changed
                if topic.version and known != topic.version:
                    text = topic.message_since(known)
                    known = topic.version
                    yield self._event(text, known)
                elif not await self._wait(changed, KEEP_ALIVE_S):
                    yield ": keep-alive\n\n"
        finally:
            topic.readers -= 1

    async def snapshot(self, name: str, make: Callable[[], View]) -> str:
        """Return all parts of a topic at once, for pages that ask every few seconds and keep no connection."""
        topic = self._join(name, make)
        try:
            if not topic.version:
                await self._wait(topic.changed, KEEP_ALIVE_S)
            return topic.message_since(None)
        finally:
            topic.readers -= 1

    def _join(self, name: str, make: Callable[[], View]) -> Topic:
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(view=make(), first=next(self._versions))
            topic.task = asyncio.create_task(self._follow(name, topic))
        topic.readers += 1
        if self._watch is None or self._watch.done():
            self.watches += 1
            self._watch = asyncio.create_task(self._watch_queue())
        return topic

    async def _follow(self, name: str, topic: Topic) -> None:
        """Look at a topic's view when a job changes and at its tick, while anybody reads it."""
        lonely = 0.0
        loop = asyncio.get_running_loop()
        while not self._stopping.is_set():
            topic.wake.clear()
            began = loop.time()
            try:
                await topic.refresh(next(self._versions))
            except AdmlopsError as error:
                log.warning("the page %s is not up to date: %s", name, error.message)
            except Exception:  # one page that cannot be made must not end the others' updates
                log.exception("the page %s is not up to date", name)
            await asyncio.sleep(AT_LEAST_S)
            await self._wait(topic.wake, topic.view.tick_s)
            lonely = 0.0 if topic.readers else lonely + loop.time() - began
            if lonely > LINGER_S:
                break
        self.topics.pop(name, None)

    async def _watch_queue(self) -> None:
        """Wake every topic when a job changes."""
        loop = asyncio.get_running_loop()
        cursor: int | None = None
        while self.topics and not self._stopping.is_set():
            try:
                changes = await loop.run_in_executor(self._thread, self._look, cursor)
            except AdmlopsError as error:
                log.warning("the queue cannot be watched: %s", error.message)
                await self._wait(self._stopping, WATCH_S)
                continue
            if changes[1]:
                for topic in self.topics.values():
                    topic.wake.set()
            cursor = changes[0]

    def _look(self, cursor: int | None) -> tuple[int, bool]:
        found = self._queue.changes(cursor, timeout_s=WATCH_S)
        return found.cursor, bool(found.ids)

    async def _wait(self, event: asyncio.Event, seconds: float) -> bool:
        """Wait for an event, the service's stop, or so long; tell whether it was the event or the stop."""
        waits = [asyncio.ensure_future(one.wait()) for one in (event, self._stopping)]
        try:
            done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for one in waits:
                one.cancel()
        return bool(done)

    def _parse(self, last_id: str) -> int | None:
        boot, _, version = last_id.partition("-")
        with contextlib.suppress(ValueError):
            return int(version) if boot == self.boot else None
        return None

    def _event(self, text: str, version: int) -> str:
        lines = "".join(f"data: {line}\n" for line in text.splitlines()) if text else "data:\n"
        return f"id: {self.boot}-{version}\n{lines}\n"
