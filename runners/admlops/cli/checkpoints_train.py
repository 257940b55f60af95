"""`admlops checkpoints train`: the weights that nobody publishes."""

from __future__ import annotations

import json
from typing import Any

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.options import DATA


@click.command(
    epilog="Example: admlops checkpoints train CalibrationStatus --data scenes --seed 0",
    short_help="Train weights that nobody publishes.",
)
@click.argument("model_name", metavar="MODEL", shell_complete=complete_models)
@click.option("--data", type=DATA, required=True, help="The data set's root.")
@click.option("--version", help="The tables' folder. [default: the only one, or v1.0-mini]")
@click.option("--split", default="mini_train", show_default=True, help="What to train on.")
@click.option("--held-out", default="mini_val", show_default=True, help="What the accuracy is measured on.")
@click.option("--seed", type=click.IntRange(0, 999), default=0, show_default=True, help="Of weights, order and errors.")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data. [default: the program's own]")
@click.option("--devices", "device", default="auto", show_default=True, help="The device to train on.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(model_name: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Train the weights of MODEL that nobody publishes, and keep them in the checkpoint store.

    Works as `admlops train`; the weights take the place of those that the catalogue names.
    """
    from admlops.catalog import load_model
    from admlops.cli.dry_run import show_plan
    from admlops.cli.signals import cancel_on_signals
    from admlops.cli.training_progress import show_training
    from admlops.core.paths import find_layout
    from admlops.pipeline.train import find_trained, train_published
    from admlops.pipeline.train_plan import preview_training
    from admlops.pipeline.train_request import TrainRequest

    layout = find_layout()
    find_trained(load_model(layout, model_name))
    with cancel_on_signals() as cancel:
        request = TrainRequest(model=model_name, cancel=cancel, **options)
        if dry_run:
            show_plan(preview_training(layout, request, say=say), as_json=as_json)
            return
        with show_training() as on_line:
            name, done = train_published(layout, request, say=say, on_line=on_line)
    entry = done.stored.entry
    if as_json:
        facts = {"model": model_name, "checkpoint": name, "file": str(done.stored.path), "sha256": entry.sha256}
        click.echo(json.dumps({**facts, "training": done.said}, indent=2))
        return
    click.echo(f"{model_name} {name}: {done.stored.path}, sha256 {entry.sha256}")
    click.echo(f"held-out accuracy: {done.said['accuracy']:.3f}")
