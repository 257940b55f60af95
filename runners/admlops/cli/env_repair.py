"""`admlops env repair`: environments that are not what their locks say any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_environments
from admlops.cli.env_hints import naming
from admlops.cli.env_manage import AS_JSON
from admlops.cli.env_use import ANY_VARIANT, DEVICE
from admlops.cli.install_progress import show_installation
from admlops.core.types import ProgressWatch, Watch

if TYPE_CHECKING:
    from admlops.environments.inventory import InstalledEnvironment
    from admlops.environments.repair import RepairResult


@click.command("repair", epilog="Example: admlops env repair MapTR")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_environments)
@ANY_VARIANT
@DEVICE
@AS_JSON
def repair(names: tuple[str, ...], variant: str | None, device: str | None, as_json: bool) -> None:
    """Install anew what differs in the environments of MODEL..., and verify them.

    Files that were edited or added are kept in a folder beside the environment.
    """
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select
    from admlops.environments.repair import repair as repair_prefix

    layout = find_layout()
    rows = []
    for one in select(layout, names, variant=variant, device=device, prefer_ready=True):
        with show_installation() as (say, progress), naming(one.spec.command_name if one.spec else one.name):
            done = repair_prefix(layout, one, say=say, progress=progress, watch=_tell_hashing(progress))
        replaced = None if done.replaced is None else str(done.replaced)
        row = {"prefix": str(one.prefix), "reinstalled": done.reinstalled, "rebuilt": done.rebuilt}
        rows.append(row | {"replaced": replaced})
        if not as_json:
            click.echo(_repair_line(one, done))
    if as_json:
        click.echo(json.dumps(rows, indent=2))


def _tell_hashing(progress: ProgressWatch) -> Watch:
    from admlops.core.types import Progress

    return lambda done, total: progress(Progress(phase="verifying files", done=done, total=total, unit="bytes"))


def _repair_line(one: InstalledEnvironment, done: RepairResult) -> str:
    parts = ["built anew"] if done.rebuilt else []
    parts += [f"reinstalled {', '.join(done.reinstalled)}"] if done.reinstalled else []
    parts += [f"what was edited or added is in {done.replaced}"] if done.replaced is not None else []
    return f"{one.prefix.name}: {'; '.join(parts) or 'nothing to repair'}"
