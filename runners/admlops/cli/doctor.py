"""`admlops doctor`: what a failure means and what mends it."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.doctor import Diagnosis
    from admlops.results.run_folder import RunFolder

SHOWN_LINES = 12
SHOWN_CHARACTERS = 160


@click.command(epilog="Example: admlops doctor build.log")
@click.argument("what", metavar="[LOG|RUN]", required=False)
@click.option("--rules", is_flag=True, help="List the failures that are known, instead.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(what: str | None, rules: bool, as_json: bool) -> None:
    """Say what a failure means: in a log, in a run, or what failed last here.

    LOG is any file with the output of a build or a model, RUN a run's name. Without either, the newest failure among
    the environments and runs of this machine is looked at.
    """
    if rules:
        _list_rules(as_json=as_json)
        return
    found = _look(what)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    elif found["message"] is None:
        click.echo(f"nothing failed in {what}" if what else "nothing has failed here")
    else:
        _print(found)


def _look(what: str | None) -> dict[str, Any]:
    from admlops.core.paths import find_layout
    from admlops.doctor import diagnose
    from admlops.pipeline.last_failure import failure_of_run, last_failure

    path = Path(what).expanduser() if what else None
    if path is not None and path.is_file():
        said = _read(path)
        return _facts(f"{path}", str(path), None, said, diagnose(said), "")
    layout = find_layout()
    failure = failure_of_run(_find_run(layout, what)) if what else last_failure(layout)
    if failure is None:
        return _facts(what, None, None, None, None, "")
    return _facts(failure.what, str(failure.where), failure.when, failure.message, failure.diagnosis, failure.advice)


def _find_run(layout: Layout, what: str) -> RunFolder:
    from admlops.core.errors import RecordError, UsageError
    from admlops.results.runs import find_run

    try:
        return find_run(layout, what)
    except RecordError as error:
        raise UsageError(f"{what} is no file, and {error.message}", hint=error.hint) from error


def _read(path: Path) -> str:
    from admlops.core.errors import UsageError

    try:
        return path.read_text(errors="replace")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error


def _facts(
    what: str | None,
    where: str | None,
    when: float | None,
    message: str | None,
    diagnosis: Diagnosis | None,
    advice: str,
) -> dict[str, Any]:
    return {
        "what": what,
        "where": where,
        "when": None if when is None else datetime.fromtimestamp(when, UTC).isoformat(timespec="seconds"),
        "message": message,
        "diagnosis": None if diagnosis is None else asdict(diagnosis),
        "advice": advice or None,
    }


def _print(found: dict[str, Any]) -> None:
    known = found["diagnosis"]
    click.echo(found["what"] + (f", {found['when']}" if found["when"] else ""))
    if known is None:
        for line in found["message"].splitlines()[-SHOWN_LINES:]:
            click.echo(f"  {line[:SHOWN_CHARACTERS]}")
        click.echo("nothing in it is known here")
        click.echo(f"  → {found['advice'] or 'less ' + str(found['where'])}")
        return
    if known["evidence"]:
        click.echo(f"  {known['evidence']}")
    thread = f"; see {known['thread']}" if known["thread"] else ""
    click.echo(f"{known['cause']} (rule {known['rule']}{thread})")
    click.echo(f"  → {known['hint']}")


def _list_rules(*, as_json: bool) -> None:
    import msgspec

    from admlops.cli.tables import print_table
    from admlops.doctor import load_rules

    known = load_rules()
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(known), indent=2))
        return
    print_table(("rule", "looked for", "cause"), [(one.id, ", ".join(one.phases), one.cause) for one in known])
