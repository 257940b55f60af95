"""`admlops models new`: a working folder for a new model."""

from __future__ import annotations

import json

import click

from admlops.cli.conventions import dry_run_option, note, say
from admlops.cli.lazy import LazyChoice


def _tasks() -> list[str]:
    from admlops.catalog.scaffold import CLASSES

    return list(CLASSES)


@click.command(
    epilog="Example: admlops models new MyDetector --task detection_3d", short_help="Make a folder for a new model."
)
@click.argument("name")
@click.option(
    "--task", type=LazyChoice(_tasks), default="detection_3d", show_default=True, help="What the model gives."
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def new(name: str, task: str, dry_run: bool, as_json: bool) -> None:
    """Make envs/NAME with a model.toml, an adapter demo.py and a lock: a stand-in that runs as it is.

    `admlops env install NAME` builds its environment, `admlops check NAME` runs it. Then put your network in:
    docs/adding-a-model.md goes through the files.
    """
    from admlops.catalog.scaffold import find_similar, scaffold_model, write_model
    from admlops.core.paths import find_layout

    layout = find_layout()
    files = scaffold_model(layout, name, task=task)
    similar = find_similar(layout, name)
    if similar is not None:
        say(f"{name} is much like {similar}, which is there already")
    if not dry_run:
        write_model(files)
    if as_json:
        click.echo(json.dumps({"model": name, "files": [str(path) for path in files], "dry_run": dry_run}, indent=2))
        return
    for path in files:
        click.echo(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        note(f"next: admlops env install {name} && admlops check {name}")
