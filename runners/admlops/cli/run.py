"""`admlops run`: one model over some scenes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.options import selection_options

if TYPE_CHECKING:
    from admlops.execution.scene_job import Summary
    from admlops.results.header import RunHeader


@click.command(epilog="Example: admlops run GroundPlane --data DIR --split mini_val --workers 2")
@click.argument("model")
@selection_options
@click.option("--config", envvar="CUSTOM_CONFIG_FILE", help="Config: name or file. [env: CUSTOM_CONFIG_FILE]")
@click.option("--checkpoint", envvar="CHECKPOINT_FILE", help="Weights: name or file. [env: CHECKPOINT_FILE]")
@click.option("--weights", metavar="random:SEED", help="Draw the weights from a seed: to try a model, not to judge it.")
@click.option("--option", "own", multiple=True, metavar="NAME=VALUE", help="An option of MODEL's (may be repeated).")
@click.option("--off-distribution", is_flag=True, help="Allow data that MODEL was not made for; the numbers say so.")
@click.option("--run", "name", help="The run's name. [default: made from model and time]")
@click.option("--resume", is_flag=True, help="Go on with the run called --run.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def run(
    model: str,
    config: str | None,
    checkpoint: str | None,
    weights: str | None,
    own: tuple[str, ...],
    off_distribution: bool,
    name: str | None,
    resume: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run MODEL over scenes and write one standard record a sample.

    Scenes run in order and whole; a run that was stopped goes on with --run NAME --resume.
    """
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.core.paths import find_layout
    from admlops.pipeline.options import parse_options
    from admlops.pipeline.run import run_model

    layout = find_layout()
    request = make_request(
        layout,
        model=model,
        options=options,
        config=config,
        checkpoint=checkpoint,
        weights=weights,
        model_options=parse_options(own),
        off_distribution=off_distribution,
        name=name,
        resume=resume,
    )
    with show_progress() as watch:
        folder, summary = run_model(layout, request, say=lambda line: click.echo(line, err=True), on_progress=watch)
    name = folder.header.run
    if as_json:
        facts = {"run": name, "path": str(folder.path), "state": summary.state}
        click.echo(json.dumps({**facts, "ok": summary.ok, "failed": summary.failed, "remaining": summary.remaining}))
    else:
        click.echo(f"{name}: {summary.state}, {summary.ok} samples ok, {summary.failed} failed")
        click.echo(f"records: {folder.records_path}")
    _raise_for(summary, folder.header)


def _raise_for(summary: Summary, header: RunHeader) -> None:
    """Nothing if all went well; else the error that says what did not, and decides the exit code."""
    from admlops.core.errors import DataError, RunFailedError

    if summary.state != "complete":
        trouble = summary.stopped_by
        kind = DataError if trouble is not None and trouble.kind == "data" else RunFailedError
        remain = f"{summary.remaining} samples remain"
        if trouble is None or trouble.kind == "cancelled":
            raise kind(f"{header.run} ended {summary.state}; {remain}", hint=header.resume_command)
        raise kind(
            f"{header.run} ended {summary.state} ({trouble.kind}): {trouble.summary}; {remain}",
            hint=f"{trouble.hint}\n  → {header.resume_command}",
        )
    if summary.failed:
        trouble = summary.troubles[0]
        kind = DataError if trouble.kind == "data" else RunFailedError
        raise kind(f"{summary.failed} samples failed, first ({trouble.kind}): {trouble.summary}", hint=trouble.hint)
