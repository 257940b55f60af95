"""How an installation's progress looks: bars with sizes and speed on a terminal, plain lines elsewhere."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

import click

from admlops.cli.byte_progress import byte_bars
from admlops.cli.conventions import say, shows_progress
from admlops.core.types import Progress, ProgressWatch, Say, unwatched

PLAIN_INTERVAL_S = 5.0
SILENCE_S = 15.0
"""The longest time without a line if there is no terminal."""


@contextmanager
def show_installation() -> Iterator[tuple[Say, ProgressWatch]]:
    """Give the functions to call with lines and with progress; everything goes to standard error.

    SIGTERM ends the block as Ctrl-C does, so that a build can end its compilers too.
    """
    with _ended_by_term():
        if not shows_progress():
            yield say, unwatched
            return
        if not sys.stderr.isatty():
            with _plain() as plain:
                yield plain.say, plain.watch
            return
        from rich.progress import TaskID

        with byte_bars() as bars:
            tasks: dict[str, TaskID] = {}

            def watch(progress: Progress) -> None:
                if progress.phase not in tasks:
                    tasks[progress.phase] = bars.add_task(progress.phase, total=None)
                if progress.unit == "bytes":
                    bars.update(tasks[progress.phase], completed=progress.done, total=progress.total)

            yield lambda line: bars.console.print(line, markup=False, highlight=False), watch


@contextmanager
def _ended_by_term() -> Iterator[None]:
    def end(number: int, _: FrameType | None) -> None:
        raise SystemExit(128 + number)

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@contextmanager
def _plain() -> Iterator[_Plain]:
    plain = _Plain()
    thread = threading.Thread(target=plain.break_silence, name="progress", daemon=True)
    thread.start()
    try:
        yield plain
    finally:
        plain.stop.set()
        thread.join()


class _Plain:
    """A line every few seconds, with the speed since the last one; for a silent step, how long it has taken."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._last: dict[str, tuple[float, int]] = {}
        self._phase, self._begun_s, self._said_s = "working", time.monotonic(), time.monotonic()

    def say(self, line: str) -> None:
        self._said_s = time.monotonic()
        click.echo(line, err=True)

    def watch(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.phase != self._phase:
            self._phase, self._begun_s = progress.phase, now
        said_s, said_done = self._last.setdefault(progress.phase, (now, progress.done))
        if progress.done < said_done:  # the step runs again, as when files are verified after a repair
            self._last[progress.phase] = (now, progress.done)
            return
        if progress.unit != "bytes" or now - said_s < PLAIN_INTERVAL_S:
            return
        self._last[progress.phase] = (now, progress.done)
        total = "" if progress.total is None else f" of {progress.total / 1e6:.0f}"
        speed = (progress.done - said_done) / (now - said_s) / 1e6
        self.say(f"{progress.phase}: {progress.done / 1e6:.0f}{total} MB, {speed:.1f} MB/s")

    def break_silence(self) -> None:
        """Tell which step goes on and for how long, whenever nothing was said for a while."""
        while not self.stop.wait(1.0):
            if time.monotonic() - self._said_s >= SILENCE_S:
                self.say(f"{self._phase}: {time.monotonic() - self._begun_s:.0f} s")
