"""A topic: what one kind of open page shows, made once for all its readers and sent in the parts that changed."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from starlette.concurrency import run_in_threadpool

MOST_LINES = 1000
"""Lines of a log that a topic keeps; a reader that comes gets these."""
CLOCKS = re.compile(r"(<time[^>]*>)[^<]*")
"""What a clock shows changes by itself, and the page's script updates it: no news."""


class View(Protocol):
    """What a page shows. Its methods are called in a thread, one at a time."""

    @property
    def tick_s(self) -> float:
        """How long to wait at most until it is looked at again, where no job changes [s]."""

    @property
    def job(self) -> str | None:
        """The one job whose changes it shows; None for all jobs."""

    def parts(self) -> Mapping[str, str]:
        """Return what stands in the page's elements, as HTML by their ids."""

    def lines(self) -> Sequence[str]:
        """Return the lines that its log got since the last call, as HTML."""


@dataclass(frozen=True)
class Batch:
    """Lines that came together. `version` counts up over all topics of a process."""

    version: int
    lines: tuple[str, ...]


@dataclass
class Topic:
    """A view and its readers. Only the event loop's thread touches it."""

    view: View
    first: int
    """The version before its first part: a reader that knows an older one begins anew."""
    readers: int = 0
    version: int = 0
    parts: dict[str, tuple[int, str]] = field(default_factory=dict)
    batches: deque[Batch] = field(default_factory=deque)
    dropped: int = 0
    """The version of the last lines that were dropped."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None
    messages: dict[int | None, str] = field(default_factory=dict)
    made: int = 0
    """How often its view was asked."""

    async def refresh(self, version: int) -> bool:
        """Ask the view, and keep what is new as `version`; tell whether anything is."""
        parts, lines = await run_in_threadpool(self._ask)
        self.made += 1
        news = {
            name: html
            for name, html in parts.items()
            if name not in self.parts or _without_clocks(self.parts[name][1]) != _without_clocks(html)
        }
        if not news and not lines and self.version:
            return False
        self.parts.update({name: (version, html) for name, html in news.items()})
        self._keep(Batch(version, tuple(lines)))
        self.version = version
        self.messages.clear()
        self.changed.set()
        self.changed = asyncio.Event()
        return True

    def message_since(self, known: int | None) -> str:
        """Return what a reader that knows a version lacks, as HTML; None is a reader that knows nothing."""
        if known is not None and not self.first <= known <= self.version:
            known = None
        if known not in self.messages:
            self.messages[known] = self._write(known)
        return self.messages[known]

    def _ask(self) -> tuple[Mapping[str, str], Sequence[str]]:
        return self.view.parts(), self.view.lines()

    def _keep(self, batch: Batch) -> None:
        if not batch.lines:
            return
        self.batches.append(batch)
        while len(self.batches) > 1 and sum(len(one.lines) for one in self.batches) > MOST_LINES:
            self.dropped = self.batches.popleft().version

    def _write(self, known: int | None) -> str:
        least = -1 if known is None else known
        parts = "".join(
            f'<div id="{name}" hx-swap-oob="innerMorph">{html}</div>'
            for name, (version, html) in self.parts.items()
            if version > least
        )
        anew = known is None or known < self.dropped
        lines = [line for batch in self.batches if anew or batch.version > least for line in batch.lines]
        if not lines:
            return parts
        how = "innerHTML" if anew else "beforeend"
        joined = "".join(f"<span>{line}\n</span>" for line in lines[-MOST_LINES:])
        return f'{parts}<hx-partial hx-target="#log" hx-swap="{how}">{joined}</hx-partial>'


def _without_clocks(html: str) -> str:
    return CLOCKS.sub(r"\1", html)
