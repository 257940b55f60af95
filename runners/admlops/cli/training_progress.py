"""How a training's progress looks: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from admlops.cli.conventions import shows_progress, uses_color

if TYPE_CHECKING:
    from admlops.training.log import Line, Meter

PLAIN_INTERVAL_S = 5.0
MINUTE_S, HOUR_S = 60, 3600

OnLine = Callable[["Line", "Meter"], None]


@contextmanager
def show_training() -> Iterator[OnLine]:
    """Give the function to call with each line of the log; everything goes to standard error."""
    if not shows_progress():
        yield _notes_only
    elif sys.stderr.isatty():
        with _bar() as on_line:
            yield on_line
    else:
        yield _plain()


def describe(meter: Meter) -> str:
    """Put loss, speed, the share of waiting for data and the time left into one line."""
    if meter.last is None:
        return "starting"
    loss = "no number" if meter.last.loss is None else f"{meter.last.loss:.4g}"
    words = [f"loss {loss}"]
    if meter.last.learning_rate is not None:
        words.append(f"lr {meter.last.learning_rate:.2g}")
    if meter.seconds_an_iteration:
        words.append(f"{meter.seconds_an_iteration:.3g} s/it")
    if meter.data_share is not None:
        words.append(f"data {meter.data_share:.0%}")
    if meter.left_s is not None:
        words.append(f"{spell_time(meter.left_s)} left")
    return ", ".join(words)


def spell_time(seconds: float) -> str:
    """`45 s`, `12 min`, `3.4 h`."""
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    return f"{seconds / MINUTE_S:.0f} min" if seconds < 2 * HOUR_S else f"{seconds / HOUR_S:.1f} h"


@contextmanager
def _bar() -> Iterator[OnLine]:
    from rich.console import Console
    from rich.progress import Progress as Bar

    console = Console(stderr=True, no_color=not uses_color(sys.stderr))
    with Bar(*Bar.get_default_columns(), console=console, transient=True) as bar:
        task = bar.add_task("starting", total=None)

        def on_line(line: Line, meter: Meter) -> None:
            done = meter.last.iteration if meter.last else line.iteration
            bar.update(task, completed=done, total=meter.iterations or None, description=describe(meter))
            if line.kind == "note":
                bar.console.print(line.text, markup=False)

        yield on_line


def _notes_only(line: Line, _meter: Meter) -> None:
    if line.kind == "note":
        click.echo(line.text, err=True)


def _plain() -> OnLine:
    last_said = 0.0

    def on_line(line: Line, meter: Meter) -> None:
        nonlocal last_said
        _notes_only(line, meter)
        now = time.monotonic()
        is_last = line.iteration == meter.iterations
        if line.kind == "iteration" and (is_last or now - last_said > PLAIN_INTERVAL_S):
            click.echo(f"{line.iteration}/{meter.iterations}: {describe(meter)}", err=True)
            last_said = now

    return on_line
