"""`admlops env list`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.env_install import describe_environment

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from admlops.core.paths import Layout
    from admlops.environments import Environment
    from admlops.environments.inventory import Installed

FACTS = ("prefix", "digest", "backend", "device", "size_bytes")


@click.command("list", epilog="Example: admlops env list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_environments(as_json: bool) -> None:
    """Say which environments are ready, broken, being built or set aside, and which no lock asks for any more.

    Every variant of every model has a row, and so has every official evaluator.
    """
    from admlops.core.paths import find_layout

    rows = list(_rows(find_layout()))
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    width = max((len(row["model"]) for row in rows), default=0)
    for row in rows:
        size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:7.0f} MB"
        built = " ".join(str(row[key]) for key in ("backend", "device") if row[key])
        shown = f"{row['model']:<{width}} {row['variant'] or '':<8} {row['status']:<6} {built:<10} {size} "
        click.echo((shown + (row["prefix"] or "")).rstrip())


def _rows(layout: Layout) -> Iterator[dict[str, Any]]:
    from admlops.catalog import list_models, load_model
    from admlops.environments import find_model, find_official
    from admlops.environments.inventory import list_installed, official_names
    from admlops.environments.reuse.aside import list_aside
    from admlops.pipeline.readiness import find_readiness

    installed = list_installed(layout)
    for model in (load_model(layout, name) for name in list_models(layout)):
        for variant in model.variants:
            status = str(find_readiness(layout, model, variant, weights=False))
            half = _half_made(installed, f"{model.name}-{variant}")
            yield _row(model.name, variant, find_model(layout, model, variant), status, half)
    for name in official_names(layout):
        found = find_official(layout, name)
        status = "not set up: its environment is not built" if found is None else "ready"
        yield _row(f"official/{name}", None, found, status, _half_made(installed, f"official-{name}"))
    for one in installed:
        if one.recipe is None:
            facts = {**one.details, "prefix": str(one.prefix)}
            yield _line(one.name, None, "no lock asks for it any more: admlops env gc", facts)
    for aside, contents in list_aside(layout):
        facts = {**contents.state, "prefix": str(aside), "digest": contents.digest}
        yield _line(contents.name, None, "set aside: env install takes it back, env gc frees it", facts)


def _half_made(installed: Sequence[Installed], name: str) -> Installed | None:
    asked_for = (one for one in installed if one.recipe is not None and one.name == name)
    return next((one for one in asked_for if one.state != "ready"), None)


def _row(
    model: str, variant: str | None, found: Environment | None, status: str, half: Installed | None
) -> dict[str, Any]:
    if found is not None:
        return _line(model, variant, status, describe_environment(found))
    if half is None:
        return _line(model, variant, status, {})
    why = half.details.get("reason", "its last repair failed") if half.state == "broken" else "or cut short"
    status = f"{half.state}, {why}: admlops env repair {half.prefix.name}"
    return _line(model, variant, status, {**half.details, "prefix": str(half.prefix)})


def _line(model: str, variant: str | None, status: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    return {"model": model, "variant": variant, "status": status, **{key: facts.get(key) for key in FACTS}}
