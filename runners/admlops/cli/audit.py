"""`admlops audit`: known vulnerabilities, licences, and what checkpoints hold."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import say

if TYPE_CHECKING:
    from admlops.pipeline.audit.audit import Audit

FOUND, NOT_ASKED = 1, 2
"""Exit codes: something is wrong; nothing wrong was found, but no database of vulnerabilities answered."""
SHOWN = 8


@click.command(
    epilog="Exit code: 0 where nothing is wrong, 1 where something is, 2 where nobody could be asked for "
    "vulnerabilities. Example: admlops audit --json > audit.json"
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def audit(as_json: bool) -> None:
    """Audit every lock and every checkpoint of this checkout.

    Asks pip-audit for known vulnerabilities of all locked Python packages, counts licences (docs/licences.md lists
    them), and reads each checkpoint whole without loading it. Changes nothing.
    """
    from admlops.core.paths import find_layout
    from admlops.pipeline.audit.audit import audit as look

    found = look(find_layout(), say=say)
    if as_json:
        click.echo(json.dumps(_shape(found), indent=2))
    else:
        _print(found)
    if not found.is_clean:
        sys.exit(FOUND)
    if not found.is_whole:
        sys.exit(NOT_ASKED)


def _shape(found: Audit) -> dict[str, Any]:
    return {
        "locked": found.locked,
        "conda_locks_not_asked": found.conda_locks,
        "vulnerabilities": asdict(found.vulnerabilities),
        "licences": dict(found.licences.most_common()),
        "copyleft": [{"package": name, "licence": licence} for name, licence in found.copyleft],
        "checkpoints": [{**asdict(one), "path": str(one.path)} for one in found.checkpoints],
    }


def _print(found: Audit) -> None:
    _print_vulnerabilities(found)
    click.echo(click.style("Licences", bold=True))
    for licence, count in found.licences.most_common(SHOWN):
        click.echo(f"  {count:>4}  {licence}")
    names = ", ".join(f"{name} ({licence})" for name, licence in found.copyleft)
    click.echo(f"  with conditions: {names or 'none'}")
    click.echo("  → docs/licences.md lists every package")
    click.echo(click.style("Checkpoints", bold=True))
    bad = [one for one in found.checkpoints if one.problem]
    click.echo(f"  {len(found.checkpoints)} read, {len(bad)} refused")
    for one in bad:
        click.echo(f"  {one.problem}\n  → {one.hint}")


def _print_vulnerabilities(found: Audit) -> None:
    known = found.vulnerabilities
    click.echo(click.style("Vulnerabilities", bold=True))
    for one in known.found:
        mended = f"fixed in {', '.join(one.fixed_in)}" if one.fixed_in else "no version without it is known"
        click.echo(f"  {one.package} {one.version}: {one.id}; {mended}; used by {', '.join(one.used_by)}")
    if not known.asked:
        click.echo(f"  not asked: {known.reason}")
        click.echo("  → run it where the database can be reached; pip-audit says more: .venv/bin/pip-audit -v")
    else:
        click.echo(f"  {len(known.found)} known in {known.asked} versions of packages")
        if known.unasked:
            click.echo(f"  {known.unasked} not asked: {known.reason}")
    click.echo(f"  conda's {found.conda_locks} locks are not asked: the database knows Python packages alone")
