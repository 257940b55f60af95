"""`admlops env repair`: environments that are not what their locks say any more."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_environments
from admlops.cli.conventions import dry_run_option
from admlops.cli.env_hints import naming
from admlops.cli.env_manage import AS_JSON
from admlops.cli.env_use import ANY_VARIANT, DEVICE
from admlops.cli.install_progress import show_installation
from admlops.core.types import ProgressWatch, Watch

if TYPE_CHECKING:
    from admlops.core.types import Planned
    from admlops.environments.inventory import InstalledEnvironment
    from admlops.environments.repair import RepairResult


@click.command("repair", epilog="Example: admlops env repair MapTR")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_environments)
@ANY_VARIANT
@DEVICE
@dry_run_option
@AS_JSON
def repair(names: tuple[str, ...], variant: str | None, device: str | None, dry_run: bool, as_json: bool) -> None:
    """Reinstall what differs in the environments of MODEL..., and verify them.

    Files that were edited or added are kept in a folder beside the environment.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select
    from admlops.environments.repair import repair as repair_prefix

    layout = find_layout()
    chosen = select(layout, names, variant=variant, device=device, prefer_ready=True)
    if dry_run:
        show_plan((step for one in chosen for step in _plan_repair(one)), as_json=as_json)
        return
    rows = []
    for one in chosen:
        with show_installation() as (say, progress), naming(one.spec.command_name if one.spec else one.name):
            done = repair_prefix(layout, one, say=say, progress=progress, watch=_tell_hashing(progress))
        replaced = None if done.replaced is None else str(done.replaced)
        row = {"prefix": str(one.prefix), "reinstalled": done.reinstalled, "rebuilt": done.rebuilt}
        rows.append(row | {"replaced": replaced})
        if not as_json:
            click.echo(_repair_line(one, done))
    if as_json:
        click.echo(json.dumps(rows, indent=2))


def _plan_repair(one: InstalledEnvironment) -> list[Planned]:
    """Say what `env repair` would do to one environment: nothing if it is as its locks say."""
    from admlops.cli.env_manage import verify_one
    from admlops.core.types import Planned

    if one.state != "ready":
        return [Planned(action="build anew", target=str(one.prefix), detail=f"its state is {one.state}")]
    differences = verify_one(one, full=False).differences
    packages = sorted({each.package or "files of no package" for each in differences})
    if not differences:
        return []
    detail = f"{len(differences)} differences in {', '.join(packages)}"
    return [Planned(action="reinstall in", target=str(one.prefix), detail=detail)]


def _tell_hashing(progress: ProgressWatch) -> Watch:
    from admlops.core.types import Progress

    return lambda done, total: progress(Progress(phase="verifying files", done=done, total=total, unit="bytes"))


def _repair_line(one: InstalledEnvironment, done: RepairResult) -> str:
    parts = ["built anew"] if done.rebuilt else []
    parts += [f"reinstalled {', '.join(done.reinstalled)}"] if done.reinstalled else []
    parts += [f"what was edited or added is in {done.replaced}"] if done.replaced is not None else []
    return f"{one.prefix.name}: {'; '.join(parts) or 'nothing to repair'}"
