"""`admlops env list`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import with_format
from admlops.cli.env_install import describe_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from admlops.core.paths import Layout
    from admlops.environments import Environment
    from admlops.environments.inventory import InstalledEnvironment

FACTS = ("prefix", "digest", "installer", "device", "size_bytes")


@click.command("list", epilog="Example: admlops env list --json")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_environments(as_json: bool) -> None:
    """Say which environments are ready, broken or being built, and which no lock asks for any more.

    Every variant of every model has a row, and so has every official evaluator and every tool.
    A build that failed beside a ready environment has a row of its own, and so has a folder of files that a repair
    replaced.
    """
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout

    rows = list(_rows(find_layout()))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    print_table(("environment", "variant", "status", "built", "MB", "folder"), [_cells(row) for row in rows])


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.0f}"
    built = " ".join(str(row[key]) for key in ("installer", "device") if row[key])
    return row["model"], row["variant"] or "", row["status"], built, size, row["prefix"] or ""


def _rows(layout: Layout) -> Iterator[dict[str, Any]]:
    from admlops.catalog import list_models, load_model
    from admlops.environments import find_model
    from admlops.environments.ensure import find
    from admlops.environments.inventory import group_names, list_installed, list_replaced
    from admlops.environments.spec.environment_spec import EnvironmentSpec
    from admlops.pipeline.readiness import find_readiness

    installed = list_installed(layout)
    for model in (load_model(layout, name) for name in list_models(layout)):
        for variant in model.variants:
            status = str(find_readiness(layout, model, variant, weights=False))
            unready = _unready(installed, f"{model.name}-{variant}")
            yield from _rows_of(model.name, variant, find_model(layout, model, variant), status, unready)
    for group, name in group_names(layout):
        found = find(layout, EnvironmentSpec.of_group(layout, group, name))
        status = "not set up: its environment is not built" if found is None else "ready"
        yield from _rows_of(f"{group}/{name}", None, found, status, _unready(installed, f"{group}-{name}"))
    for one in installed:
        if one.spec is None:
            yield _line(one.name, None, "no lock asks for it any more: admlops env gc", _facts(one))
    for folder in list_replaced(layout):
        status = "files that a repair replaced: admlops env gc --replaced"
        yield _line(folder.name, None, status, {"prefix": str(folder)})


def _unready(installed: Sequence[InstalledEnvironment], name: str) -> list[InstalledEnvironment]:
    return [one for one in installed if one.spec is not None and one.name == name and one.state != "ready"]


def _rows_of(
    model: str, variant: str | None, found: Environment | None, status: str, unready: Sequence[InstalledEnvironment]
) -> Iterator[dict[str, Any]]:
    """Yield the row of what is ready, or of what is not, and a row of each build that failed beside it."""
    if found is not None or not unready:
        yield _line(model, variant, status, {} if found is None else describe_environment(found))
    for one in unready:
        why = one.details.get("reason", "its last repair failed") if one.state == "broken" else "or cut short"
        advice = "env gc removes it" if found is not None else f"admlops env repair {one.prefix.name}"
        yield _line(model, variant, f"{one.state}, {why}: {advice}", _facts(one))


def _facts(one: InstalledEnvironment) -> dict[str, Any]:
    from admlops.environments.prefix import INSTALLER_KEY

    return {**one.details, "prefix": str(one.prefix), "installer": one.details.get(INSTALLER_KEY)}


def _line(model: str, variant: str | None, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "variant": variant, "status": status, **{key: facts.get(key) for key in FACTS}}
