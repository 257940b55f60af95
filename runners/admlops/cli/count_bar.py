"""How many of a number of things are done, on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from admlops.cli.conventions import shows_progress

if TYPE_CHECKING:
    from admlops.core.types import Watch


@contextmanager
def show_count(label: str, *, hidden: bool = False) -> Iterator[Watch]:
    """A function to call with how many are done, and how many there are."""
    with click.progressbar(length=0, label=label, file=sys.stderr, hidden=hidden or not shows_progress()) as bar:

        def show(done: int, total: int) -> None:
            bar.length = total
            bar.update(done - bar.pos)

        yield show
