"""One watch of the queue for all open pages.

However many pages are open, the service's one watcher asks the database whether a job changed. Each topic (the
overview, a job, a run) is made once when one did, or at its tick, and all its readers get the same text.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
import secrets
from collections.abc import AsyncIterator, Callable

from admlops.core.errors import AdmlopsError
from admlops.service.dashboard.live.topic import Topic, View
from admlops.service.watcher import ANY, JobWatcher

log = logging.getLogger(__name__)

KEEP_ALIVE_S = 15.0
"""Proxies cut connections that are silent for longer, the strictest after about a minute."""
AT_LEAST_S = 0.2
"""The least time between two looks at one view, however often jobs change."""
LINGER_S = 10.0
"""How long a topic is kept without readers: a browser that comes back at once finds what it knew."""


class Hub:
    """Topics by their names, and the watch that wakes them. Use it from the event loop's thread."""

    def __init__(self, watcher: JobWatcher, stopping: asyncio.Event) -> None:
        self.boot = secrets.token_hex(4)
        self.topics: dict[str, Topic] = {}
        self._watcher = watcher
        self._stopping = stopping
        self._versions = itertools.count(1)

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

    async def ask(self, name: str, make: Callable[[], View], last_id: str) -> tuple[str, str]:
        """Return what a page lacks, and the id to ask with the next time, for pages that keep no connection."""
        topic = self._join(name, make)
        try:
            if not topic.version:
                await self._wait(topic.changed, KEEP_ALIVE_S)
            known = self._parse(last_id)
            text = "" if known == topic.version else topic.message_since(known)
            return text, f"{self.boot}-{topic.version}"
        finally:
            topic.readers -= 1

    def _join(self, name: str, make: Callable[[], View]) -> Topic:
        topic = self.topics.get(name)
        if topic is None:
            topic = self.topics[name] = Topic(view=make(), first=next(self._versions))
            topic.task = asyncio.create_task(self._follow(name, topic))
        topic.readers += 1
        return topic

    async def _follow(self, name: str, topic: Topic) -> None:
        """Look at a topic's view when a job changes and at its tick, while anybody reads it."""
        loop = asyncio.get_running_loop()
        read = loop.time()
        with self._watcher.watch(topic.view.job or ANY) as woken:
            while not self._stopping.is_set():
                woken.clear()
                await self._refresh(name, topic)
                await asyncio.sleep(AT_LEAST_S)
                await self._wait(woken, topic.view.tick_s)
                read = loop.time() if topic.readers else read
                if loop.time() - read > LINGER_S:
                    break
        del self.topics[name]

    async def _refresh(self, name: str, topic: Topic) -> None:
        try:
            await topic.refresh(next(self._versions))
        except AdmlopsError as error:
            log.warning("the page %s is not up to date: %s", name, error.message)
        except Exception:  # one page that cannot be made must not end the others' updates
            log.exception("the page %s is not up to date", name)

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
