"""`admlops models fork`: a variant of a model, with heads, losses and data sets of one's own."""

from __future__ import annotations

import json

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import dry_run_option, note, say


@click.command(epilog="Example: admlops models fork MapTR MyMap", short_help="Make a variant of a model.")
@click.argument("model", shell_complete=complete_models)
@click.argument("name")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fork(model: str, name: str, dry_run: bool, as_json: bool) -> None:
    """Make envs/NAME, a variant of MODEL with a package extension/ for heads, losses, pipelines and data sets.

    The source stays as it is pinned. What extension/ registers is imported beside it, for running and for training.
    """
    from admlops.catalog.fork import EXTENSION, fork_model
    from admlops.catalog.scaffold import find_similar, write_model
    from admlops.core.paths import find_layout

    layout = find_layout()
    files = fork_model(layout, model, name)
    similar = find_similar(layout, name)
    if similar not in (None, model):
        say(f"{name} is much like {similar}, which is there already")
    if not dry_run:
        write_model(files)
    if as_json:
        facts = {"model": name, "of": model, "files": [str(path) for path in files], "dry_run": dry_run}
        click.echo(json.dumps(facts, indent=2))
        return
    for path in files:
        click.echo(f"{'would write' if dry_run else 'wrote'} {path}")
    if not dry_run:
        note(f"next: edit {layout.envs / name / EXTENSION}, then admlops env install {name} && admlops train {name}")
