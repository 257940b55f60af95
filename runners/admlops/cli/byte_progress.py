"""How far a file has come, on standard error: a bar with speed on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from admlops.cli.conventions import shows_progress, uses_color

if TYPE_CHECKING:
    from rich.progress import Progress

PLAIN_INTERVAL_S = 10.0


@contextmanager
def show_bytes(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """A function to call with the bytes that are there and the bytes of the whole, None while nobody knows."""
    if not shows_progress():
        yield lambda _done, _total: None
        return
    if not sys.stderr.isatty():
        yield _plain(name)
        return
    with byte_bars() as bar:
        task = bar.add_task(name, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def byte_bars() -> Progress:
    """Bars with sizes and speed on standard error, which leave no trace when they are done."""
    from rich.console import Console
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    timing = (TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True, no_color=not uses_color(sys.stderr))
    return Progress(*columns, *timing, console=console, transient=True)


def _plain(name: str) -> Callable[[int, int | None], None]:
    begun = last_said = time.monotonic()
    first: int | None = None

    def watch(done: int, total: int | None) -> None:
        nonlocal first, last_said
        first = done if first is None else first
        now = time.monotonic()
        if now - last_said < PLAIN_INTERVAL_S:
            return
        last_said = now
        of = "" if total is None else f" of {total / 1e6:.0f}"
        click.echo(f"{name}: {done / 1e6:.0f}{of} MB, {(done - first) / 1e6 / (now - begun):.1f} MB/s", err=True)

    return watch
