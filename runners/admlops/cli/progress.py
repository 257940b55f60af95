"""How a run's progress looks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from admlops.cli.conventions import manner, shows_progress, uses_color

if TYPE_CHECKING:
    from admlops.execution.scene_job import RunEvent

PLAIN_INTERVAL_S = 5.0
_PHRASES = {
    "sample": "failed",
    "skip": "the rest is given up",
    "retry": "trying anew",
    "stop": "stopping",
}


@contextmanager
def show_progress() -> Iterator[Callable[[RunEvent, int], None]]:
    """Gives the function to call with each event of a run and the run's size; everything goes to standard error."""
    if not shows_progress():
        yield _failures_only
    elif sys.stderr.isatty():
        with _bar() as watch:
            yield watch
    else:
        yield _plain()


@contextmanager
def _bar() -> Iterator[Callable[[RunEvent, int], None]]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True, no_color=not uses_color(sys.stderr))
    with Bar(*Bar.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("samples", total=None)

        def watch(event: RunEvent, total: int) -> None:
            bar.update(task, advance=event.samples, description=event.scene or "samples", total=total)
            if event.failure is not None:
                bar.console.print(_explain(event), markup=False)

        yield watch


def _failures_only(event: RunEvent, _total: int) -> None:
    if event.failure is not None and not manner().quiet:
        click.echo(_explain(event), err=True)


def _plain() -> Callable[[RunEvent, int], None]:
    done = 0
    last_said = time.monotonic()

    def watch(event: RunEvent, total: int) -> None:
        nonlocal done, last_said
        done += event.samples
        if event.failure is not None:
            click.echo(_explain(event), err=True)
        now = time.monotonic()
        if event.samples and (done == total or now - last_said > PLAIN_INTERVAL_S):
            click.echo(f"{done}/{total} samples, {event.scene}", err=True)
            last_said = now

    return watch


def _explain(event: RunEvent) -> str:
    assert event.failure is not None
    if event.kind == "lost":
        return f"worker {event.worker}: its device is out of the run ({event.failure.kind}): {event.failure.reason}"
    where = " ".join(part for part in (event.scene, event.sample_token) if part) or "the run"
    return f"{where}: {_PHRASES[event.kind]} ({event.failure.kind}): {event.failure.summary}"
