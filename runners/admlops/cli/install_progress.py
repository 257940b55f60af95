"""How an installation's progress looks: bars with sizes and speed on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import click

from admlops.cli.byte_progress import byte_bars
from admlops.core.types import Progress, ProgressWatch, Say

PLAIN_INTERVAL_S = 5.0


@contextmanager
def show_installation() -> Iterator[tuple[Say, ProgressWatch]]:
    """Gives what to call with lines and with progress; everything goes to standard error."""
    if not sys.stderr.isatty():
        yield _say, _Plain().watch
        return
    from rich.progress import TaskID

    with byte_bars() as bars:
        tasks: dict[str, TaskID] = {}

        def watch(progress: Progress) -> None:
            if progress.unit != "bytes":
                return
            if progress.phase not in tasks:
                tasks[progress.phase] = bars.add_task(progress.phase)
            bars.update(tasks[progress.phase], completed=progress.done, total=progress.total)

        yield lambda line: bars.console.print(line, markup=False, highlight=False), watch


def _say(line: str) -> None:
    click.echo(line, err=True)


class _Plain:
    """A line every few seconds, with the speed since the last one."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[float, int]] = {}

    def watch(self, progress: Progress) -> None:
        now = time.monotonic()
        said_s, said_done = self._last.setdefault(progress.phase, (now, progress.done))
        if progress.unit != "bytes" or now - said_s < PLAIN_INTERVAL_S:
            return
        self._last[progress.phase] = (now, progress.done)
        total = "" if progress.total is None else f" of {progress.total / 1e6:.0f}"
        speed = (progress.done - said_done) / (now - said_s) / 1e6
        _say(f"{progress.phase}: {progress.done / 1e6:.0f}{total} MB, {speed:.1f} MB/s")
