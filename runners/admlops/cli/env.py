"""`admlops env`: environments of the models."""

from __future__ import annotations

import json

import click


@click.group(epilog="Example: admlops env install GroundPlane")
def env() -> None:
    """Environments: one per model and variant, built from a hashed lock."""


@env.command("list", epilog="Example: admlops env list --json")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_environments(as_json: bool) -> None:
    """Say which environments are ready."""
    from admlops.catalog import list_models, load_model, setup_status
    from admlops.environments import find_model
    from admlops.paths import find_layout

    layout = find_layout()
    rows = []
    for name in list_models(layout):
        model = load_model(layout, name)
        for variant in model.variants:
            found = find_model(layout, model, variant)
            rows.append(
                {
                    "model": name,
                    "variant": variant,
                    "status": setup_status(layout, model, variant),
                    "prefix": None if found is None else str(found.prefix),
                    "digest": None if found is None else found.digest,
                }
            )
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    for row in rows:
        click.echo(f"{row['model']:<12} {row['variant']:<8} {row['status']}  {row['prefix'] or ''}".rstrip())


@env.command("install", epilog="Example: admlops env install GroundPlane --variant modern")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--variant", help="One set of pins; the model's default if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(names: tuple[str, ...], variant: str | None, as_json: bool) -> None:
    """Build the environments of MODEL... from their locks; does nothing for those that are ready.

    `official/NAME` names the environment of an official evaluator.
    """
    from admlops.catalog import load_model
    from admlops.environments import ensure_model, ensure_official
    from admlops.paths import find_layout

    layout = find_layout()

    def say(line: str) -> None:
        click.echo(line, err=as_json)

    built = []
    for name in names:
        if name.startswith("official/"):
            environment = ensure_official(layout, name.removeprefix("official/"), say=say)
        else:
            environment = ensure_model(layout, load_model(layout, name), variant, say=say)
        built.append({"name": environment.name, "prefix": str(environment.prefix), "digest": environment.digest})
        say(f"{environment.name} is ready: {environment.prefix}")
    if as_json:
        click.echo(json.dumps(built, indent=2))
