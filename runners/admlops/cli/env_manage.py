"""`admlops env verify`, `show`, `remove` and `gc`: the environments that are there."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_environments
from admlops.cli.conventions import dry_run_option, shows_progress
from admlops.cli.env_use import ANY_VARIANT, DEVICE
from admlops.core.counting import count_of
from admlops.core.types import Watch

if TYPE_CHECKING:
    from admlops.core.types import Planned
    from admlops.environments.integrity.verification import Report
    from admlops.environments.inventory import InstalledEnvironment

NAMES = click.argument("names", metavar="MODEL...", nargs=-1, shell_complete=complete_environments)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")
SHOWN_DIFFERENCES = 20


@click.command("verify", epilog="Example: admlops env verify MapTR --full")
@NAMES
@ANY_VARIANT
@DEVICE
@click.option("--full", is_flag=True, help="Hash every file; else names, versions and sizes are compared.")
@AS_JSON
def verify(names: tuple[str, ...], variant: str | None, device: str | None, full: bool, as_json: bool) -> None:
    """Compare environments with their locks and their manifests; all of them if none is named.

    Ends with 1 if something differs. MODEL may also be official/NAME or the name of an environment's folder.
    """
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select

    layout = find_layout()
    chosen = select(layout, names, variant=variant, device=device)
    rows = []
    for one in chosen:
        if one.state == "ready":
            report = verify_one(one, full=full)
            rows.append(_row(one, report))
            if not as_json:
                _print_report(one, report)
        else:
            rows.append(_row(one, None))
            if not as_json:
                _print_unready(one)
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    elif not chosen:
        click.echo(f"no environments in {layout.environments}")
    if any(row["differences"] or row["state"] != "ready" for row in rows):
        sys.exit(1)


def verify_one(one: InstalledEnvironment, *, full: bool) -> Report:
    """Verify one prefix against its locks, with progress on a terminal."""
    from admlops.environments.integrity import verification
    from admlops.environments.inventory import locked_base, locked_python

    with hashing(one.prefix.name) as watch:
        return verification.verify(one.prefix, full=full, base=locked_base(one), python=locked_python(one), watch=watch)


@contextmanager
def hashing(label: str) -> Iterator[Watch | None]:
    """Show a bar of the bytes hashed, on a terminal only: a verification is quick enough to need no plain lines."""
    if not (shows_progress() and sys.stderr.isatty()):
        yield None
        return
    from admlops.cli.byte_progress import byte_bars

    with byte_bars() as bar:
        task = bar.add_task(label, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _row(one: InstalledEnvironment, report: Report | None) -> dict[str, Any]:
    return {
        "name": one.name,
        "prefix": str(one.prefix),
        "state": one.state,
        "digest": one.digest,
        "asked_for": one.spec is not None,
        **({"differences": []} if report is None else asdict(report)),
    }


def _print_unready(one: InstalledEnvironment) -> None:
    reason = one.details.get("reason")
    click.echo(f"{one.prefix.name}: {one.state}{f', {reason}' if reason else ''}")
    click.echo(f"  → admlops env repair {one.prefix.name}   # or: admlops env remove {one.prefix.name}")


def _print_report(one: InstalledEnvironment, report: Report) -> None:
    how = f"{count_of(report.files_checked, 'file')} of {count_of(report.packages, 'package')}"
    if report.full:
        how += f", {report.bytes_checked / 1e6:.0f} MB hashed"
    if not report.by_manifest:
        how += "; held to its packages' lists, for it has no manifest: env repair writes one"
    if report.clean:
        note = "" if one.spec is not None else "; no lock asks for it any more: admlops env gc"
        click.echo(f"{one.prefix.name}: as its packages{' and lock' if one.spec else ''} say ({how}){note}")
        return
    count = len(report.differences)
    click.echo(f"{one.prefix.name}: {count} difference{'' if count == 1 else 's'} ({how})")
    for difference in report.differences[:SHOWN_DIFFERENCES]:
        owner = f" [{difference.package}]" if difference.package else ""
        click.echo(f"  {difference.path} {difference.reason}{owner}")
    if count > SHOWN_DIFFERENCES:
        click.echo(f"  … and {count - SHOWN_DIFFERENCES} more; --json has them all")
    click.echo("  → admlops env gc" if one.spec is None else f"  → admlops env repair {one.prefix.name}")


@click.command("show", epilog="Example: admlops env show MapTR")
@click.argument("name", metavar="MODEL", shell_complete=complete_environments)
@ANY_VARIANT
@DEVICE
@AS_JSON
def show(name: str, variant: str | None, device: str | None, as_json: bool) -> None:
    """Say what the environments of MODEL are: versions, kernels, sizes, weak hashes, variables."""
    from admlops.core.paths import find_layout
    from admlops.environments.description import describe
    from admlops.environments.inventory import select

    rows = [describe(one) for one in select(find_layout(), [name], variant=variant, device=device)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for index, row in enumerate(rows):
        if index:
            click.echo()
        for key, value in row.items():
            _print_field(key, value)


def _print_field(key: str, value: Any) -> None:
    label = f"{key.replace('_', ' ')}:"
    if isinstance(value, dict):
        click.echo(label)
        for name, content in value.items():
            if content is not None:
                click.echo(f"  {name}={content}")
    elif isinstance(value, list):
        separator = "; " if key == "lock_notes" else ", "
        click.echo(f"{label:<26}{separator.join(map(str, value)) or 'none'}")
    elif key.endswith("_bytes") and value is not None:
        click.echo(f"{label.replace(' bytes', ''):<26}{value / 1e6:.0f} MB")
    else:
        click.echo(f"{label:<26}{'—' if value is None else value}")


@click.command("remove", epilog="Example: admlops env remove MapTR --variant classic")
@NAMES
@ANY_VARIANT
@DEVICE
@click.option("--all", "every", is_flag=True, help="All variants of MODEL; without MODEL every environment.")
@click.option("--purge", is_flag=True, hidden=True)
@YES
@dry_run_option
@AS_JSON
def remove(
    names: tuple[str, ...],
    variant: str | None,
    device: str | None,
    every: bool,
    purge: bool,
    yes: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Remove the environments of MODEL...: only what admlops made, and none that a process is using.

    A pack of one brings it back (`env pack`). Libraries that other environments share, or that a stored pack needs,
    stay on disk.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select
    from admlops.environments.removal import remove as remove_prefix

    if not names and not every:
        raise UsageError("no MODEL is named", hint="admlops env remove --all   # removes every environment")
    layout = find_layout()
    chosen: dict[Path, InstalledEnvironment] = {one.prefix: one for one in (() if names else select(layout, ()))}
    for name in names:
        found = select(layout, [name], variant=variant, device=device)
        if len(found) > 1 and not every:
            listed = ", ".join(one.prefix.name for one in found)
            raise UsageError(
                f"{name} has several environments here: {listed}", hint=f"admlops env remove {found[0].prefix.name}"
            )
        chosen |= {one.prefix: one for one in found}
    if dry_run:
        show_plan((_plan_removal(one) for one in chosen.values()), as_json=as_json)
        return
    if chosen:
        _confirm(f"remove {', '.join(one.prefix.name for one in chosen.values())}?", yes=yes)
    removed = {prefix: remove_prefix(layout, prefix) for prefix in chosen}
    if as_json:
        click.echo(json.dumps([{"prefix": str(prefix), **asdict(one)} for prefix, one in removed.items()], indent=2))
        return
    for prefix, one in removed.items():
        kept = one.size_bytes - one.freed_bytes
        shared = f", {kept / 1e6:.0f} MB of them libraries that others share or a pack needs" if kept > 1e6 else ""
        click.echo(f"removed {prefix.name}, {one.size_bytes / 1e6:.0f} MB{shared}")
    if not removed:
        click.echo(f"no environments in {layout.environments}")


def _plan_removal(one: InstalledEnvironment) -> Planned:
    """Say how much would go. Raises EnvError for an environment that a process is using."""
    from admlops.core.types import Planned
    from admlops.environments.integrity.walking import disk_usage_bytes
    from admlops.environments.removal import check_unused

    check_unused(one.prefix)
    size_bytes = disk_usage_bytes(one.prefix, names_elsewhere=1)
    return Planned(action="remove", target=str(one.prefix), detail=f"{size_bytes / 1e6:.0f} MB that no other has")


@click.command("gc", epilog="Example: admlops env gc --dry-run")
@click.option("--dry-run", is_flag=True, help="Say what would go, and remove nothing.")
@click.option("--wheels", is_flag=True, help="Also compiled wheels that no environment here was built with.")
@click.option("--replaced", is_flag=True, help="Also files that repairs replaced: what somebody edited or added.")
@YES
@AS_JSON
def collect_garbage(dry_run: bool, wheels: bool, replaced: bool, yes: bool, as_json: bool) -> None:
    """Remove environments that no lock asks for, and what builds and removals left half-done."""
    from admlops.core.paths import find_layout
    from admlops.environments.removal import collect

    layout = find_layout()
    if not dry_run and not yes and sys.stdin.isatty():
        planned = [
            one for one in collect(layout, wheels=wheels, replaced=replaced, dry_run=True) if one.kept_because is None
        ]
        if planned:
            _confirm(f"remove {', '.join(one.path.name for one in planned)}?", yes=False)
    found = collect(layout, wheels=wheels, replaced=replaced, dry_run=dry_run)
    if as_json:
        rows: Sequence[dict[str, Any]] = [{**asdict(one), "path": str(one.path)} for one in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for one in found:
        verb = "kept" if one.kept_because else "would remove" if dry_run else "removed"
        why = f"{one.reason}; but {one.kept_because}" if one.kept_because else one.reason
        click.echo(f"{verb} {one.path.name}, {one.size_bytes / 1e6:.0f} MB: {why}")
    if not found:
        click.echo("nothing to remove")


def _confirm(question: str, *, yes: bool) -> None:
    if not yes and sys.stdin.isatty():
        click.confirm(question, abort=True, err=True)
