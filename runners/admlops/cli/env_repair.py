"""`admlops env repair`: environments that are not what their locks say any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from admlops.cli.env_manage import AS_JSON, hashing
from admlops.cli.env_use import DEVICE, VARIANT

if TYPE_CHECKING:
    from admlops.environments.integrity.repair import Repaired
    from admlops.environments.inventory import Installed


@click.command("repair", epilog="Example: admlops env repair MapTR")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@VARIANT
@DEVICE
@AS_JSON
def repair(names: tuple[str, ...], variant: str | None, device: str | None, as_json: bool) -> None:
    """Install anew what differs in the environments of MODEL..., and verify them.

    Files that were edited or added are kept in a folder beside the environment.
    """
    from admlops.core.paths import find_layout
    from admlops.environments.integrity.repair import repair as repair_prefix
    from admlops.environments.inventory import select

    layout = find_layout()
    rows = []
    for one in select(layout, names, variant=variant, device=device):
        with hashing(one.prefix.name) as watch:
            done = repair_prefix(layout, one, say=lambda line: click.echo(line, err=as_json), watch=watch)
        aside = None if done.aside is None else str(done.aside)
        rows.append(
            {"prefix": str(one.prefix), "reinstalled": done.reinstalled, "rebuilt": done.rebuilt, "aside": aside}
        )
        if not as_json:
            click.echo(_repair_line(one, done))
    if as_json:
        click.echo(json.dumps(rows, indent=2))


def _repair_line(one: Installed, done: Repaired) -> str:
    if done.rebuilt:
        return f"{one.prefix.name}: built anew"
    if not done.reinstalled and done.aside is None:
        return f"{one.prefix.name}: nothing to repair"
    parts = [f"reinstalled {', '.join(done.reinstalled)}"] if done.reinstalled else []
    parts += [f"what was edited or added is in {done.aside}"] if done.aside is not None else []
    return f"{one.prefix.name}: {'; '.join(parts)}"
