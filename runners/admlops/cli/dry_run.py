"""What --dry-run prints: what would be done, and that nothing was."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

import click

from admlops.core.types import Planned


def show_plan(steps: Iterable[Planned], *, as_json: bool) -> None:
    """Print a line for each step, or one JSON object with all of them."""
    planned = list(steps)
    if as_json:
        click.echo(json.dumps({"dry_run": True, "steps": [asdict(one) for one in planned]}, indent=2))
        return
    for one in planned:
        click.echo(f"would {one.action} {one.target}{f': {one.detail}' if one.detail else ''}")
    if not planned:
        click.echo("nothing to do")
