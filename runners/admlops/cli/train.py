"""`admlops train`: a network by its authors' own program, in its own environment."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_configs, complete_models, complete_variants
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.options import DATA

if TYPE_CHECKING:
    from admlops.pipeline.train import Finished
    from admlops.training.folder import TrainingFolder


@click.command(
    short_help="Train a network by its authors' program.",
    epilog="Example: admlops train CalibrationStatus --data scenes --evaluate-every 50 --patience 5",
)
@click.argument("model", shell_complete=complete_models)
@click.option("--data", type=DATA, help="The data set's root.")
@click.option("--version", help="The tables' folder. [default: the only one, or v1.0-mini]")
@click.option("--split", help="What to train on. [default: train; for v1.0-mini: mini_train]")
@click.option("--held-out", help="What checkpoints are evaluated on. [default: val; for v1.0-mini: mini_val]")
@click.option("--config", shell_complete=complete_configs, help="Config: name or file. [default: the model's]")
@click.option("--variant", shell_complete=complete_variants, help="The set of pins. [default: the model's]")
@click.option("--devices", "device", default="auto", show_default=True, help="The devices to choose from.")
@click.option("--gpus", type=click.IntRange(1), help="Train on so many GPUs. [default: one, or the CPU]")
@click.option("--from", "start", metavar="CHECKPOINT|random", help="Begin with these weights. [default: the authors']")
@click.option("--epochs", type=click.IntRange(1), help="Passes over the data. [default: the config's]")
@click.option("--iterations", type=click.IntRange(1), help="Iterations in all, in place of epochs.")
@click.option("--batch", type=click.IntRange(1), help="Samples a GPU. [default: the config's]")
@click.option(
    "--learning-rate",
    type=click.FloatRange(0, min_open=True),
    help="[default: the authors', in proportion to the batch on all GPUs]",
)
@click.option("--seed", type=click.IntRange(0, 999), default=0, show_default=True, help="Of weights and order.")
@click.option("--checkpoint-every", type=click.IntRange(1), metavar="N", help="Save every N iterations.")
@click.option("--evaluate-every", type=click.IntRange(1), metavar="N", help="Evaluate the checkpoint of every N.")
@click.option("--patience", type=click.IntRange(1), metavar="K", help="Stop after K evaluated ones without gain.")
@click.option("--teacher", metavar="CHECKPOINT", help="Learn these weights' outputs: distillation.")
@click.option("--temperature", type=click.FloatRange(1, 100), help="Softens the teacher's answers. [default: 4]")
@click.option("--soft-share", type=click.FloatRange(0, 1), help="The teacher's share of the loss. [default: 0.9]")
@click.option(
    "--prune",
    type=click.FloatRange(0, 0.95, min_open=True),
    metavar="SHARE",
    help="Take this share of the channels out of --from first.",
)
@click.option("--name", help="What the training and its weights are called. [default: model and time]")
@click.option("--resume", metavar="TRAINING", help="Go on with this training.")
@click.option("--smoke", is_flag=True, help="The smallest settings that train: to try the set-up, not to learn.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def train(model: str, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Train MODEL and register its weights: admlops run MODEL --checkpoint NAME runs them.

    Ctrl-C and TERM end it at a checkpoint; --resume goes on behind that, as if it had never stopped.
    --teacher and --prune make a smaller network: docs/smaller-models.md.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.signals import cancel_on_signals
    from admlops.cli.training_progress import show_training
    from admlops.core.paths import find_layout
    from admlops.pipeline.train import train_model
    from admlops.pipeline.train_plan import preview_training
    from admlops.pipeline.train_request import TrainRequest
    from admlops.reports.training import write_training_report

    layout = find_layout()
    with cancel_on_signals() as cancel:
        request = TrainRequest(model=model, cancel=cancel, **options)
        if dry_run:
            show_plan(preview_training(layout, request, say=say), as_json=as_json)
            return
        opened: list[TrainingFolder] = []
        try:
            with show_training() as on_line:
                done = train_model(layout, request, say=say, on_line=on_line, on_open=opened.append)
        finally:  # the curves of a training that was stopped or failed are worth as much
            for folder in opened:
                write_training_report(folder)
    _tell(done, as_json=as_json)


def _tell(done: Finished, *, as_json: bool) -> None:
    """Print what came out."""
    from admlops.training.log import read_lines, summarise

    header, entry = done.header, done.stored.entry
    summary = summarise(read_lines(done.folder.log))
    if as_json:
        facts = {
            "training": header.name,
            "path": str(done.folder.path),
            "state": header.state,
            "reason": header.reason,
            "checkpoint": {"name": header.name, "file": str(done.stored.path), "sha256": entry.sha256},
            "best": None if header.best is None else header.best.value,
            **summary,
            "answer": done.said,
        }
        click.echo(json.dumps(facts, indent=2))
        return
    loss = "" if summary["last_loss"] is None else f", loss {summary['first_loss']:.4g} to {summary['last_loss']:.4g}"
    why = "" if header.reason in (None, header.state) else f" ({header.reason})"
    click.echo(f"{header.name}: {header.state}{why}, {header.iteration} iterations{loss}")
    if header.best is not None:
        click.echo(f"best:    iteration {header.best.iteration}, {header.best.metric} {header.best.value:.4g}")
    click.echo(f"weights: {done.stored.path}, sha256 {entry.sha256}")
    click.echo(f"report:  {done.folder.report}")
    click.echo(f"run it:  admlops run {header.model} --checkpoint {header.name}")
