"""`admlops env pack`, `push` and `pull`: environments that outlive the disk they were built on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_environments
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.env_hints import naming
from admlops.cli.env_manage import AS_JSON, hashing, verify_one
from admlops.cli.env_use import ANY_VARIANT, DEVICE
from admlops.environments.reuse.packs.manifest import COMPRESSED

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.core.types import Planned
    from admlops.environments.inventory import InstalledEnvironment
    from admlops.environments.reuse.packs import Pack

NAMES = click.argument("names", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_environments)
STORE_VARIABLE = "ADMLOPS_PACK_STORE"


@click.command("pack", epilog="Example: admlops env pack MapTR")
@NAMES
@ANY_VARIANT
@DEVICE
@click.option(
    "--level",
    type=click.IntRange(0, 19),
    default=COMPRESSED,
    show_default=True,
    help="How hard zstd tries; 0 stores everything as it is: larger, and restored in a fraction of the time.",
)
@dry_run_option
@AS_JSON
def pack(
    names: tuple[str, ...], variant: str | None, device: str | None, level: int, dry_run: bool, as_json: bool
) -> None:
    """Write each ready environment of MODEL... into one file in admlops_repository/packs/.

    Every file is checked against the manifest as it is packed: an edited environment is not packed. `env install`
    restores from the pack wherever its digest and its place are the same.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select

    layout = find_layout()
    chosen = select(layout, names, variant=variant, device=device, prefer_ready=True)
    if dry_run:
        show_plan((step for one in chosen for step in _plan_pack(layout, one)), as_json=as_json)
        return
    rows = []
    for one in chosen:
        with naming(names[0]):
            made = pack_one(layout, one, level)
        rows.append({"name": one.prefix.name, "archive": str(made.archive), **_sizes(made)})
        if not as_json:
            before, after = made.manifest.size_bytes / 1e6, made.manifest.archive_size_bytes / 1e6
            click.echo(f"{one.prefix.name}: {before:.0f} MB into {after:.0f} MB, {made.archive}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))


def pack_one(layout: Layout, one: InstalledEnvironment, level: int) -> Pack:
    """Pack one environment that is what its locks say. Raises EnvError if something differs."""
    from admlops.core.errors import EnvError
    from admlops.environments.reuse.packs import pack_environment

    report = verify_one(one, full=False)  # packing hashes every file, and checks it against the manifest
    if not report.by_manifest:
        report = verify_one(one, full=True)
    if not report.clean:
        first = report.differences[0]
        raise EnvError(
            f"{one.prefix.name} is not as its packages say and is not packed: {first.path} {first.reason}"
            + (f", and {len(report.differences) - 1} more" if len(report.differences) > 1 else ""),
            hint=f"admlops env repair {one.prefix.name}",
        )
    with hashing(f"packing {one.prefix.name}") as watch:
        return pack_environment(one.prefix, layout.packs, level=level, on_progress=watch)


def _sizes(made: Pack) -> dict[str, int]:
    manifest = made.manifest
    return {
        "files": sum(entry.kind == "file" for entry in manifest.entries),
        "size_bytes": manifest.size_bytes,
        "archive_size_bytes": manifest.archive_size_bytes,
    }


@click.command("push", epilog="Example: admlops env push MapTR --to s3://bucket/packs")
@NAMES
@ANY_VARIANT
@DEVICE
@click.option("--to", "target", envvar=STORE_VARIABLE, required=True, help="A folder, or s3://bucket/path.")
@dry_run_option
@AS_JSON
def push(
    names: tuple[str, ...], variant: str | None, device: str | None, target: str, dry_run: bool, as_json: bool
) -> None:
    """Put the packs of MODEL... into a folder or an S3-compatible store; a pack is made first where there is none.

    What the store holds already is not sent again, so an interrupted push goes on where it was. An S3 store is
    configured by AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.environments.inventory import select
    from admlops.environments.reuse.packs import pack_path, read_pack, stores

    layout = find_layout()
    chosen = select(layout, names, variant=variant, device=device, prefer_ready=True)
    if dry_run:
        show_plan((step for one in chosen for step in _plan_push(layout, one, target)), as_json=as_json)
        return
    rows = []
    for one in chosen:
        made = read_pack(pack_path(layout.packs, one.prefix))
        if made is None or made.manifest.digest != one.digest:
            made = pack_one(layout, one, level=COMPRESSED)
        with hashing(f"pushing {one.prefix.name}") as watch, naming(names[0]):
            sent = stores.push(made, target, on_progress=watch)
        rows.append({"name": one.prefix.name, "target": target, "sent_bytes": sent, **_sizes(made)})
        if not as_json:
            click.echo(f"{one.prefix.name}: {sent / 1e6:.0f} MB sent to {target}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))


@click.command("pull", epilog="Example: admlops env pull MapTR --from s3://bucket/packs && admlops env install MapTR")
@NAMES
@ANY_VARIANT
@DEVICE
@click.option("--from", "target", envvar=STORE_VARIABLE, required=True, help="A folder, or s3://bucket/path.")
@dry_run_option
@AS_JSON
def pull(
    names: tuple[str, ...], variant: str | None, device: str | None, target: str, dry_run: bool, as_json: bool
) -> None:
    """Bring the packs that the locks of MODEL... ask for from a store; `env install` then restores from them.

    An interrupted pull goes on where it was.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout

    layout = find_layout()
    if dry_run:
        show_plan(
            (step for name in names for step in _plan_pull(layout, name, variant, device, target)), as_json=as_json
        )
        return
    rows = []
    for name in names:
        with naming(name):
            brought = _pull_one(layout, name, variant, device, target)
        rows.append({"name": brought.archive.name, "archive": str(brought.archive), **_sizes(brought)})
        if not as_json:
            click.echo(f"{brought.archive} is here; admlops env install {name} restores from it")
    if as_json:
        click.echo(json.dumps(rows, indent=2))


def _plan_pack(layout: Layout, one: InstalledEnvironment) -> list[Planned]:
    """Say which file `env pack` would write."""
    from admlops.core.types import Planned
    from admlops.environments.reuse.packs import pack_path

    path = pack_path(layout.packs, one.prefix)
    if one.state != "ready":
        return [Planned(action="refuse", target=str(one.prefix), detail=f"its state is {one.state}")]
    return [Planned(action="replace" if path.exists() else "write", target=str(path))]


def _plan_push(layout: Layout, one: InstalledEnvironment, target: str) -> list[Planned]:
    """Say which pack `env push` would copy, and whether it is made first."""
    from admlops.core.addresses import redact
    from admlops.core.types import Planned
    from admlops.environments.reuse.packs import pack_path, read_pack

    path = pack_path(layout.packs, one.prefix)
    made = read_pack(path)
    there = made is not None and made.manifest.digest == one.digest
    where = redact(target) if "://" in target else target
    return [*([] if there else _plan_pack(layout, one)), Planned(action="copy", target=str(path), detail=f"to {where}")]


def _plan_pull(layout: Layout, name: str, variant: str | None, device: str | None, target: str) -> list[Planned]:
    """Say which packs `env pull` would look for; the first that the store holds would be brought."""
    from admlops.core.addresses import redact
    from admlops.core.types import Planned
    from admlops.environments.ensure import candidates
    from admlops.environments.inventory import specs_named

    where = redact(target) if "://" in target else target
    specs = specs_named(layout, name, variant, device)
    wanted = [prefix.name for spec in specs for prefix, _ in candidates(layout, spec)]
    return [Planned(action="look for", target=one, detail=f"in {where}") for one in wanted]


def _pull_one(layout: Layout, name: str, variant: str | None, device: str | None, target: str) -> Pack:
    from admlops.core.errors import EnvError
    from admlops.environments.ensure import candidates
    from admlops.environments.inventory import specs_named
    from admlops.environments.reuse.packs import stores

    specs = specs_named(layout, name, variant, device)
    wanted = [prefix.name for spec in specs for prefix, _ in candidates(layout, spec)]
    for candidate in wanted:
        with hashing(f"pulling {candidate}") as watch:
            brought = stores.pull(candidate, target, layout.packs, on_progress=watch, say=say)
        if brought is not None:
            return brought
    raise EnvError(
        f"{target} holds no pack that the locks of {name} ask for ({', '.join(wanted) or 'it has no lock'})",
        hint=f"admlops env push {name} --to {target}   # from where its environment is ready",
    )
