"""`admlops deploy`: what a deployment config asks for, with this project's own steps."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_checkpoints, complete_models, complete_scenes, complete_splits
from admlops.cli.conventions import dry_run_option, say

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.deployment.deploy_config import Deployment
    from admlops.pipeline.deploy import Deployed
    from admlops.pipeline.run_request import RunRequest

_UNSAID = {
    "precision": "authors",
    "graphs": False,
    "engine": None,
    "batch": 1,
    "prefetch": None,
    "workers": 1,
    "executor": "local",
    "address": None,
    "data_map": (),
    "gpu_memory_limit": None,
    "estimate_energy": False,
    "timeout": None,
    "start_timeout": None,
    "complete_scenes": False,
    "shard": None,
    "where": None,
    "rules": None,
}
"""What a deployment config has no key for."""


@click.command(epilog="Example: admlops deploy resnet18_5ch.py CalibrationStatus --data DIR --dry-run")
@click.argument("config", type=click.Path(path_type=Path))
@click.argument("model", shell_complete=complete_models)
@click.option("--data", type=click.Path(path_type=Path), help="The samples' root; stands in for info_pkl.")
@click.option("--version", help="The tables' folder. [default: the only one, or v1.0-mini]")
@click.option("--split", shell_complete=complete_splits, help="The split. [default: val; for v1.0-mini: mini_val]")
@click.option(
    "--scene", "scenes", multiple=True, metavar="NAME", shell_complete=complete_scenes, help="This scene alone."
)
@click.option("--tokens", type=click.Path(path_type=Path), help="A file or folder of sample tokens.")
@click.option("--limit", type=int, metavar="N", help="The first N samples; goes before evaluation.num_samples.")
@click.option("--variant", help="The set of pins. [default: the model's]")
@click.option("--checkpoint", shell_complete=complete_checkpoints, help="Weights; goes before checkpoint_path.")
@click.option("--weights", metavar="random:SEED", help="Draw the weights from a seed: to try a model, not to judge it.")
@click.option("--device", metavar="cpu|cuda:0", help="The device; goes before export.device.")
@click.option("--calibrate", metavar="SPLIT|FILE", help="The samples that int8 ranges are taken from.")
@click.option("--fresh", is_flag=True, help="Export again what was exported alike.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print what came of it as JSON.")
def deploy(
    config: Path, model: str, calibrate: str | None, fresh: bool, dry_run: bool, as_json: bool, **options: Any
) -> None:
    """Export MODEL, verify the engines and evaluate them, as the deployment config CONFIG asks.

    CONFIG is a Python file with dictionaries: export, runtime_io, onnx_config, backend_config, evaluation. It is read
    and never executed. Every key is honoured, or refused with its line.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.deployment.deploy_reader import read_deployment
    from admlops.pipeline.deploy import DeployRequest, deploy_model, preview_deployment

    layout = find_layout()
    deployment = read_deployment(config)
    with cancel_on_signals() as cancel:
        run = _run_request(layout, deployment, model, options, cancel)
        request = DeployRequest(deployment=deployment, run=run, calibrate=calibrate, fresh=fresh)
        if dry_run:
            show_plan(preview_deployment(layout, request, say=say), as_json=as_json)
            return
        done = deploy_model(layout, request, say=say, show_progress=show_progress)
    if as_json:
        click.echo(json.dumps(_as_json(done), indent=1))
    else:
        _print(done)


def _run_request(
    layout: Layout, deployment: Deployment, model: str, options: dict[str, Any], cancel: Any
) -> RunRequest:
    from admlops.cli.options import make_request
    from admlops.pipeline.deploy import needs_data, require_data
    from admlops.pipeline.run_request import RunRequest

    require_data(deployment, options["data"])
    own = {"checkpoint": options.pop("checkpoint"), "weights": options.pop("weights"), "cancel": cancel}
    options["device"] = options["device"] or deployment.device or "auto"
    if not needs_data(deployment):
        return RunRequest(model=model, data=Path(), variant=options["variant"], device=options["device"], **own)
    return make_request(layout, model=model, options={**_UNSAID, **options}, **own)


def _as_json(done: Deployed) -> dict[str, Any]:
    return {
        "artifact": None if done.artifact is None else done.artifact.name,
        "file": None if done.artifact is None else str(done.artifact.file),
        "copy": None if done.copy is None else str(done.copy),
        "verified": dict(done.verified),
        "evaluated": dict(done.evaluated),
    }


def _print(done: Deployed) -> None:
    from admlops.cli.tables import print_table

    if done.artifact is not None:
        click.echo(f"exported: {done.artifact.name}, {done.artifact.file}")
    for engine, found in done.verified.items():
        click.echo(f"verified: {engine}: {found['outcome']}")
    names = sorted({one["name"] for entry in done.evaluated.values() for one in entry["metrics"]["metrics"]})
    rows = [(name, *(_value(entry["metrics"]["metrics"], name) for entry in done.evaluated.values())) for name in names]
    if rows:
        print_table(("metric", *done.evaluated), rows)
    for backend, entry in done.evaluated.items():
        click.echo(f"{backend}: admlops results show {entry['run']}   # latency, confusion, notes")


def _value(metrics: list[dict[str, Any]], name: str) -> str:
    value = next((one["value"] for one in metrics if one["name"] == name), None)
    return "–" if value is None else f"{value:.4f}"
