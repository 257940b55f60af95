"""`admlops exported`: the exported networks."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click
import msgspec

from admlops.cli.completion import complete_models
from admlops.cli.conventions import dry_run_option, say, with_format

if TYPE_CHECKING:
    from pathlib import Path

    from admlops.deployment.artifacts import Artifact


@click.group(epilog="Example: admlops exported list")
def exported() -> None:
    """Exported networks, each a file with its manifest: list and remove them."""


@exported.command("list", epilog="Example: admlops exported list --json")
@click.argument("model", required=False, shell_complete=complete_models)
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print the manifests as JSON.")
def list_exported(model: str | None, as_json: bool) -> None:
    """List exported networks, the oldest first: of MODEL, or all.

    The table says what --engine takes, the weights, and what tells a network from others of its model: a
    configuration, a form, lengths of axes. One that is older was exported again since; --engine takes the later one.
    """
    from admlops.catalog import load_model
    from admlops.cli.exported_rows import tell_apart
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout
    from admlops.deployment.artifacts import list_artifacts, list_broken

    layout = find_layout()
    found = list_artifacts(layout, model)
    for folder, error in list_broken(layout, model).items():
        say(f"{error.message}; admlops exported remove {folder.relative_to(layout.exported)} removes it")
    if model is not None and not found:
        load_model(layout, model)  # raises if there is no such model
    if as_json:
        click.echo(json.dumps([_as_json(one) for one in found], indent=1))
        return
    told = tell_apart([one.manifest for one in found])
    rows = [_cells(one, of) for one, of in zip(found, told, strict=True)]
    print_table(("network", "engine", "made of", "MB", "verified"), rows)


@exported.command("remove", epilog="Example: admlops exported remove MapTR/0123456789abcdef")
@click.argument("names", nargs=-1, required=True, metavar="MODEL/KEY...")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def remove_exported(names: tuple[str, ...], dry_run: bool, as_json: bool) -> None:
    """Remove exported networks; runs that were made with them stay."""
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.core.types import Planned
    from admlops.deployment.artifacts import find_folder, remove_artifact

    layout = find_layout()
    folders = list(dict.fromkeys(find_folder(layout, name) for name in names))
    if dry_run:
        steps = [Planned(action="remove", target=str(one), detail=f"{_megabytes(one):.1f} MB") for one in folders]
        show_plan(steps, as_json=as_json)
        return
    for folder in folders:
        remove_artifact(folder)
    removed = [str(folder.relative_to(layout.exported)) for folder in folders]
    if as_json:
        click.echo(json.dumps({"removed": removed}))
    else:
        click.echo("\n".join(f"removed {name}" for name in removed))


def _megabytes(folder: Path) -> float:
    return sum(file.stat().st_size for file in folder.iterdir() if file.is_file()) / 1e6


def _cells(one: Artifact, of: str) -> tuple[str, ...]:
    from admlops.cli.exported_rows import spell_engine, spell_provider, spell_size

    providers = ", ".join(map(spell_provider, _verified(one)))
    return one.name, spell_engine(one.manifest), of, spell_size(one.manifest.size_bytes), providers


def _verified(one: Artifact) -> list[str]:
    from admlops.core.paths import find_layout
    from admlops.deployment.artifacts import is_verified, read_verifications
    from admlops.sources.provenance import describe_code

    layout = find_layout()
    code = describe_code(layout.envs / one.manifest.model) if layout.is_checkout else None
    providers = dict.fromkeys(str(entry.get("provider")) for entry in read_verifications(one.folder))
    return [name for name in providers if is_verified(one.folder, sha256=one.manifest.sha256, provider=name, code=code)]


def _as_json(one: Artifact) -> dict[str, Any]:
    return {**msgspec.to_builtins(one.manifest), "folder": str(one.folder), "verified": _verified(one)}
