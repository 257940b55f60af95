"""`admlops doctor`: what a failure means and what mends it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_runs_or_files
from admlops.cli.conventions import with_format

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.doctor import Explanation, Site
    from admlops.doctor.log import Log
    from admlops.pipeline.last_failure import LastFailure
    from admlops.results.run_folder import RunFolder

SHOWN_LINES = 12
UNKNOWN = 1
"""The exit code where a failure is not known."""


@click.command(
    epilog="Exit code: 0 where every failure is explained or none is found, 1 where one is not known, 2 for an input "
    "that cannot be read. Example: admlops doctor build.log, or: make 2>&1 | admlops doctor -"
)
@click.argument("what", metavar="[LOG|-|RUN]", required=False, shell_complete=complete_runs_or_files)
@click.option("--here", is_flag=True, help="The log is of this machine: look at its /dev/shm too.")
@click.option("--rules", is_flag=True, help="List the failures that are known, instead.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(what: str | None, here: bool, rules: bool, as_json: bool) -> None:
    """Say what a failure means: in a log, in a run, or what failed last here.

    LOG is a file with the output of a build or a model (plain or gzip, any usual encoding), - the standard input, RUN a
    run's name. Without any of them, look at the newest failure among the environments and runs of this machine.

    The last failure of a log is explained; others before it are listed.
    """
    if rules:
        _list_rules(as_json=as_json)
        return
    found = _look(what, here=here)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["message"] is None:
        click.echo(f"nothing failed in {what}" if what else "nothing has failed here")
    else:
        _print(found)
    if found["unknown"]:
        sys.exit(UNKNOWN)


def _look(what: str | None, *, here: bool) -> dict[str, Any]:
    from admlops.core.paths import find_layout, user_path
    from admlops.doctor.log import read_log, read_stream
    from admlops.pipeline.last_failure import failure_of_run, last_failure

    if what == "-":
        return _look_at_log("the standard input", None, read_stream(sys.stdin.buffer, "the standard input"), here=here)
    layout = find_layout()
    path = user_path(what) if what else None
    if path is not None and path.exists() and not _is_run(layout, path, str(what)):
        return _look_at_log(str(path), path, read_log(path), here=here or _is_of_here(path, layout))
    failure = failure_of_run(_find_run(layout, what)) if what else last_failure(layout)
    return _nothing(what) if failure is None else _look_at_failure(failure)


def _is_run(layout: Layout, path: Path, name: str) -> bool:
    """Whether a name is a run's and not a log's: the name of a folder with a run in it, or of one under `runs/`."""
    return not path.is_file() and any((folder / "run.json").exists() for folder in (path, layout.runs / name))


def _is_of_here(path: Path, layout: Layout) -> bool:
    """Tell whether a log lies where this machine's own logs lie: in a run, the repository, or an environment."""
    resolved = path.resolve()
    homes = (layout.repository.resolve(), layout.environments.resolve())
    return any(resolved.is_relative_to(home) for home in homes) or any(
        (folder / "run.json").exists() for folder in list(resolved.parents)[:2]
    )


def _find_run(layout: Layout, what: str) -> RunFolder:
    from admlops.core.errors import RecordError, UsageError
    from admlops.results.runs import find_run

    try:
        return find_run(layout, what)
    except RecordError as error:
        raise UsageError(f"{what} is no file, and {error.message}", hint=error.hint) from error


def _look_at_log(what: str, path: Path | None, log: Log, *, here: bool) -> dict[str, Any]:
    from admlops.doctor import Site, explain

    site: Site | None = Site() if here else None
    told = explain(log.lines, site=site)
    message = "\n".join(told.findings[-1].quoted) if told.findings else None
    facts = _facts(what, None if path is None else str(path), None, message, told, "")
    return {**facts, "skipped_bytes": log.skipped_bytes}


def _look_at_failure(failure: LastFailure) -> dict[str, Any]:
    return _facts(failure.what, str(failure.where), failure.when, failure.message, failure.explanation, failure.advice)


def _nothing(what: str | None) -> dict[str, Any]:
    from admlops.doctor import Explanation

    return _facts(what, None, None, None, Explanation(state="none"), "")


def _facts(
    what: str | None,
    where: str | None,
    when: float | None,
    message: str | None,
    told: Explanation,
    advice: str,
) -> dict[str, Any]:
    """All that is printed. `diagnosis` is the last failure's, `failures` are all, in their order."""
    last = told.findings[-1].diagnosis if told.findings and told.state == "known" else None
    return {
        "what": what,
        "where": where,
        "when": None if when is None else datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
        "state": told.state,
        "message": message,
        "diagnosis": None if last is None else asdict(last),
        "failures": [asdict(one) for one in told.findings],
        "went_on": told.went_on,
        "warning": told.warning,
        "unknown": not told.all_known,
        "advice": advice or None,
        "skipped_bytes": 0,
    }


def _print(found: dict[str, Any]) -> None:
    *earlier, last = found["failures"] or [None]
    click.echo(found["what"] + (f", {found['when']}" if found["when"] else ""))
    if found["skipped_bytes"]:
        click.echo(f"  only its end was looked at: {found['skipped_bytes'] / 1e6:.0f} MB before it were passed over")
    for one in earlier:
        known = one["diagnosis"]
        said = (
            f"{known['cause']} (rule {known['rule']})"
            if known
            else f"not known: {one['quoted'][-1] if one['quoted'] else ''}"
        )
        click.echo(f"  before, line {one['line']}: {said}")
    if found["went_on"]:
        click.echo(f"  line {last['line']}: {last['quoted'][0] if last['quoted'] else ''}")
        click.echo("the log ends well: what failed in it was mended or survived")
    elif found["diagnosis"] is not None:
        _print_known(found)
    else:
        _print_unknown(found, last)


def _print_known(found: dict[str, Any]) -> None:
    known = found["diagnosis"]
    for line in known["evidence"]:
        click.echo(f"  {line}")
    if found["warning"]:
        click.echo("nothing failed; this warning is known:")
    thread = f"; see {known['thread']}" if known["thread"] else ""
    click.echo(f"{known['cause']} (rule {known['rule']}{thread})")
    click.echo(f"  → {known['hint']}")


def _print_unknown(found: dict[str, Any], last: dict[str, Any] | None) -> None:
    lines = last["quoted"] if last else found["message"].splitlines()[-SHOWN_LINES:]
    for line in lines:
        click.echo(f"  {line}")
    if last and last["launcher_only"]:
        click.echo("unknown failure: only what the launcher said is here, and no rule explains it")
        click.echo(
            "  → look for the first traceback or error further up, or in the output of the rank or program that failed"
        )
        return
    click.echo("unknown failure: no rule explains it")
    where = found["where"]
    click.echo(f"  → {found['advice'] or (f'less {where}' if where else 'the lines above are those that matter')}")


def _list_rules(*, as_json: bool) -> None:
    import msgspec

    from admlops.cli.tables import print_table
    from admlops.doctor import load_rules

    known = load_rules()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(known), indent=2))
        return
    rows = {one.id: (one.id, ", ".join(one.phases), one.cause) for one in known}
    print_table(("rule", "looked for", "cause"), list(rows.values()))
