"""`admlops attach`: what a run says and how it ends, from any terminal."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any, NoReturn

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.detach import WAKE_S, Tail, leave_as

if TYPE_CHECKING:
    from admlops.results.detached import Detached
    from admlops.results.run_folder import RunFolder

LINES = 10
POLL_S = 0.5
"""How often the folder of a run that was not detached is read."""


@click.command(epilog="Example: admlops attach first")
@click.argument("name", metavar="RUN", shell_complete=complete_runs)
@click.option("--stop", is_flag=True, help="Ask it to stop, as Ctrl-C in its own terminal does, and wait for its end.")
@click.option(
    "--lines", type=click.IntRange(min=0), default=LINES, show_default=True, help="How much of its log to begin with."
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print at its end how it ended, as JSON.")
def attach(name: str, stop: bool, lines: int, dry_run: bool, as_json: bool) -> None:
    """Show what RUN says until it ends, then end with its exit code.

    RUN is a run's name or its folder. Ctrl-C ends the watching and not the run, however many watch. For a run that has
    ended, print its result. --stop works for runs that were started with --detach.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout, user_path
    from admlops.core.types import Planned
    from admlops.results.detached import find_detached
    from admlops.results.runs import find_run

    layout = find_layout()
    found = find_detached(layout, name, user_path(name))
    run = find_run(layout, name) if found is None else _run_of(found)
    if found is not None and run is not None and not found.goes_on and run.observe_state() == "running":
        found = None  # it was resumed since, in a terminal
    if stop:
        if found is None:
            raise _not_detached(run)
        if dry_run:
            pid = found.pid
            show_plan([Planned(action="stop", target=name, detail=f"process {pid}")] if pid else [], as_json=as_json)
            return
    if found is None:
        assert run is not None
        _watch_folder(run, as_json=as_json)
    _watch(found, name, stop=stop, lines=lines, as_json=as_json)


def _run_of(found: Detached) -> RunFolder | None:
    """The run that a detached command began last."""
    from admlops.core.errors import RecordError
    from admlops.results.run_folder import RunFolder

    try:
        return RunFolder.open(found.runs[-1][1]) if found.runs else None
    except RecordError:
        return None


def _not_detached(run: RunFolder | None) -> Exception:
    from admlops.core.errors import UsageError

    assert run is not None
    state = run.observe_state()
    if state != "running":
        return UsageError(f"{run.path.name} does not run: it is {state}", hint=f"admlops results show {run.path.name}")
    return UsageError(
        f"{run.path.name} was not started with --detach, so only its own terminal stops it",
        hint="press Ctrl-C there   # whole scenes stay; --resume goes on",
    )


def _watch(found: Detached, name: str, *, stop: bool, lines: int, as_json: bool) -> NoReturn:
    """Show the log of a detached command until it ends."""
    from admlops.core.errors import StoppedError, UsageError

    if found.goes_on and not found.is_here:
        raise UsageError(
            f"{name} was started on another machine, and nothing says that it has ended",
            hint=f"admlops attach {name}   # on that machine",
        )
    went_on = found.goes_on
    log = Tail(found.log_path)
    log.skip_to(lines)
    asked = not stop
    try:
        if went_on:
            say(f"{name} runs as process {found.pid}")
        while found.goes_on:
            asked = asked or found.stop()
            log.copy()
            time.sleep(WAKE_S)
    except KeyboardInterrupt:
        raise StoppedError(
            f"{name} goes on without you", hint=f"admlops attach {name}   # --stop ends the run"
        ) from None
    log.copy()
    run = _run_of(found)
    _tell_end(found, name, run)
    if as_json:
        click.echo(json.dumps(_facts(found, name, run), indent=2))
    if stop:
        say(f"{name} has ended" if went_on else f"{name} had ended before")
        sys.stdout.flush()
        raise SystemExit(0)
    if as_json:
        sys.stdout.flush()
        raise SystemExit(1 if found.ended is None else found.ended.code)
    leave_as(found)


def _tell_end(found: Detached, name: str, run: RunFolder | None) -> None:
    """Say what the command itself could not: that it was killed."""
    resume = "" if run is None else f"\n  → {run.header.resume_command}"
    if found.ended is None:
        click.echo(f"{name} has ended, and nobody was left to write down how{resume}", err=True)
    elif found.ended.signal is not None:
        click.echo(f"{name} was killed by {found.ended.signal}{resume}", err=True)


def _facts(found: Detached, name: str, run: RunFolder | None) -> dict[str, Any]:
    ended = found.ended
    output = found.output_path.read_text(errors="replace") if found.output_path.exists() else ""
    return {
        "run": name if run is None else run.path.name,
        "folder": None if run is None else str(run.path),
        "state": None if run is None else run.observe_state(),
        "exit_code": None if ended is None else ended.code,
        "signal": None if ended is None else ended.signal,
        "output": output,
        "log": str(found.log_path),
    }


def _watch_folder(run: RunFolder, *, as_json: bool) -> NoReturn:
    """Report the progress of a run that was not detached until it ends, then how it ended, from its files."""
    from admlops.core.errors import StoppedError
    from admlops.results.run_folder import RunFolder
    from admlops.results.runs import count_samples

    name, said = run.path.name, -1
    try:
        while (state := run.observe_state()) == "running":
            done, total = count_samples(run)
            if done != said:
                say(f"{name} runs elsewhere: {done}/{total} samples are in whole scenes")
                said = done
            time.sleep(POLL_S)
            run = RunFolder.open(run.path)
    except KeyboardInterrupt:
        raise StoppedError(f"{name} goes on without you", hint=f"admlops attach {name}") from None
    counts = run.count_statuses()
    code = _code_of(run, state, failed=counts["failed"])
    if as_json:
        facts = {"run": name, "folder": str(run.path), "state": state, "exit_code": code, "signal": None}
        click.echo(json.dumps({**facts, "ok": counts["ok"], "failed": counts["failed"]}, indent=2))
    else:
        click.echo(f"{name}: {state}, {counts['ok']} samples ok, {counts['failed']} failed")
        click.echo(f"records: {run.records_path}")
    sys.stdout.flush()
    if state != "complete":
        click.echo(f"  → {run.header.resume_command}", err=True)
    raise SystemExit(code)


def _code_of(run: RunFolder, state: str, *, failed: int) -> int:
    """The exit code that `admlops run` ends with, as far as a run's files tell."""
    from admlops.core.errors import DataError, RunFailedError, StoppedError

    if state in ("cancelled", "stopped"):
        return StoppedError.exit_code
    first = run.first_failure() if failed else None
    if state == "complete" and first is not None and first.kind == "data":
        return DataError.exit_code
    return RunFailedError.exit_code if failed or state != "complete" else 0
