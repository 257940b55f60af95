"""`--detach`: the same command again, without this terminal."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.results.detached import Detached

Command = TypeVar("Command", bound=Callable[..., Any])

WAKE_S = 0.1


def detach_option(command: Command) -> Command:
    """Add --detach to a command whose requests come from `cli.options.make_request`."""
    option: Callable[[Command], Command] = click.option(
        "--detach", is_flag=True, help="Go on without this terminal, and return once it runs; see admlops attach."
    )
    return option(command)


def take_folder() -> Path | None:
    """Return the folder of this command if it was detached, and hide it from the processes that it starts."""
    from admlops.results.detached import VARIABLE

    named = os.environ.pop(VARIABLE, None)
    return None if named is None else Path(named)


def announcer(folder: Path | None) -> Callable[[Path], None] | None:
    """Return what is to be called as each run begins, if this command was detached."""
    from admlops.results.detached import Detached

    return None if folder is None else Detached(folder).announce


def start_again(layout: Layout, *, as_json: bool) -> None:
    """Start this command line again, detached, and wait until its first run has begun.

    Raises:
        StorageError: its folder cannot be written.
        SystemExit: it ended before; with its exit code, after printing what it said.
    """
    from admlops.core.errors import StoppedError
    from admlops.results.detached import start_detached

    started = start_detached(layout, sys.argv[1:])
    log = Tail(started.log_path)
    try:
        while started.goes_on and not started.runs:
            log.copy()
            time.sleep(WAKE_S)
    except KeyboardInterrupt:
        started.stop()
        raise StoppedError("stopped before it began", hint=f"less {started.log_path}") from None
    log.copy()
    if not started.runs:
        leave_as(started)
    _show(started, as_json=as_json)


def _show(started: Detached, *, as_json: bool) -> None:
    name, folder = started.runs[0]
    facts: dict[str, Any] = {
        "run": name,
        "folder": str(folder),
        "pid": started.pid,
        "log": str(started.log_path),
        "attach": f"admlops attach {name}",
        "stop": f"admlops attach {name} --stop",
    }
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    for key, value in facts.items():
        click.echo(f"{key + ':':8}{'has ended' if value is None else value}")


class Tail:
    """Copies what is appended to a file to standard error."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0

    def skip_to(self, lines: int) -> None:
        """Begin with the last `lines` lines that are there."""
        content = self._path.read_bytes() if self._path.exists() else b""
        kept = b"".join(content.splitlines(keepends=True)[-lines:]) if lines else b""
        self._at = len(content) - len(kept)

    def copy(self) -> None:
        """Print what has come since."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            new = file.read()
        self._at += len(new)
        if new:
            click.echo(new.decode("utf-8", "replace"), err=True, nl=False)


def leave_as(done: Detached) -> NoReturn:
    """Print what a command that has ended printed, and end with its exit code, or with 1 if none was written down."""
    if done.output_path.exists():
        click.echo(done.output_path.read_text(errors="replace"), nl=False)
    sys.stdout.flush()
    raise SystemExit(1 if done.ended is None else done.ended.code)
