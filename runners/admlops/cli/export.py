"""`admlops export`: a model's network as a file that other runtimes execute."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from admlops.cli.completion import complete_checkpoints, complete_configs, complete_models, complete_variants
from admlops.cli.conventions import dry_run_option, say

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.deployment.artifacts import Artifact
    from admlops.pipeline.export import ExportRequest


@click.command(epilog="Example: admlops export CalibrationStatus --to onnx --weights random:0")
@click.argument("model", shell_complete=complete_models)
@click.option("--to", default="onnx", show_default=True, metavar="onnx[,tensorrt]", help="What to write.")
@click.option(
    "--precision",
    default="auto",
    show_default=True,
    type=click.Choice(("auto", "fp32", "fp32_tf32", "fp16", "int8")),
    help="The arithmetic that the file is written in.",
)
@click.option("--checkpoint", shell_complete=complete_checkpoints, help="Weights: name or file. [default: the model's]")
@click.option("--weights", metavar="random:SEED", help="Draw the weights from a seed: to try a model, not to judge it.")
@click.option("--config", shell_complete=complete_configs, help="Config: name or file.")
@click.option("--variant", shell_complete=complete_variants, help="The set of pins. [default: the model's]")
@click.option("--option", "own", multiple=True, metavar="NAME=VALUE", help="An option of MODEL's (may be repeated).")
@click.option("--opset", type=int, default=17, show_default=True, help="The version of ONNX's operators.")
@click.option("--form", default="default", show_default=True, help="Which of MODEL's networks, if it has several.")
@click.option("--axis", "axes", multiple=True, metavar="NAME=LENGTH", help="The length of a dynamic axis in the trace.")
@click.option("--calibrate", metavar="SPLIT|FILE", help="The samples that int8 ranges are taken from.")
@click.option(
    "--calibration-samples", type=click.IntRange(1), default=64, show_default=True, help="How many of them at most."
)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The data set of these samples, and of the pictures whose size the file is for. [default: the one in data/]",
)
@click.option("--version", help="The tables' folder of that data set. [default: the only one, or v1.0-mini]")
@click.option("--fresh", is_flag=True, help="Export again what was exported alike.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print the manifest as JSON.")
def export(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Write MODEL's network as a file that other runtimes execute, check it, and keep it with its manifest.

    The file goes to exported/MODEL/KEY/ of the repository folder. The same weights, settings and versions give the same
    key and are exported once. admlops run MODEL --engine onnx then runs it in PyTorch's place.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.pipeline.export import export_model, preview_export

    layout = find_layout()
    with cancel_on_signals() as cancel:
        request = _request(layout, options, cancel)
        if dry_run:
            show_plan(preview_export(layout, request), as_json=as_json)
            return
        artifact = export_model(layout, request, say=say)
    if as_json:
        click.echo(json.dumps({**msgspec.to_builtins(artifact.manifest), "folder": str(artifact.folder)}, indent=1))
    else:
        _print(artifact)


def _request(layout: Layout, options: dict[str, Any], cancel: Any) -> ExportRequest:
    from admlops.catalog import load_model
    from admlops.cli.options import default_data
    from admlops.pipeline.export import ExportRequest
    from admlops.pipeline.options import parse_options
    from admlops.pipeline.run_request import RunRequest

    data = options["data"] or Path()  # only int8 looks at data
    if options["calibrate"] is not None and options["data"] is None:
        data = default_data(layout, load_model(layout, options["model"]).reads)
    run = RunRequest(
        model=options["model"],
        data=data,
        version=options["version"],
        variant=options["variant"],
        config=options["config"],
        checkpoint=options["checkpoint"],
        weights=options["weights"],
        model_options=parse_options(options["own"]),
        cancel=cancel,
    )
    kinds = [kind.strip() for kind in options["to"].split(",") if kind.strip()]
    if "tensorrt" in kinds:
        say("TensorRT builds its engine of the ONNX file on the GPU that runs it first, and keeps it")
    kinds = [kind for kind in kinds if kind != "tensorrt"] or (["onnx"] if kinds else [])
    return ExportRequest(
        run=run,
        to=kinds[0] if len(set(kinds)) == 1 else options["to"],
        precision=options["precision"],
        opset=options["opset"],
        form=options["form"],
        axes=_axes(options["axes"]),
        fresh=options["fresh"],
        calibrate=options["calibrate"],
        calibration_samples=options["calibration_samples"],
    )


def _axes(given: Iterable[str]) -> dict[str, int]:
    from admlops.core.errors import UsageError

    axes: dict[str, int] = {}
    for text in given:
        name, _, length = text.partition("=")
        if not name or not length.isdigit() or int(length) < 1:
            raise UsageError(f"--axis {text} is not NAME=LENGTH", hint="pass --axis batch=2, for example")
        axes[name] = int(length)
    return axes


def _print(artifact: Artifact) -> None:
    manifest = artifact.manifest
    largest = max(manifest.verdicts.get("largest_difference", {}).values(), default=0.0)
    click.echo(f"{artifact.name}: {manifest.size_bytes / 1e6:.1f} MB, opset {manifest.opset}, {manifest.precision}")
    click.echo(f"file:    {artifact.file}")
    click.echo(f"inputs:  {'; '.join(_tensor(one) for one in manifest.inputs)}")
    click.echo(f"outputs: {'; '.join(_tensor(one) for one in manifest.outputs)}")
    click.echo(f"slimmed: {manifest.verdicts.get('slimmed')}")
    than = "PyTorch" if manifest.precision in ("auto", "fp32", "fp32_tf32") else "the float32 file"
    click.echo(f"largest difference from {than}, for one example: {largest:.2g}")
    if manifest.calibration is not None:
        click.echo(f"int8 ranges: {len(manifest.calibration.samples)} samples of {manifest.calibration.data}")


def _tensor(one: Any) -> str:
    return f"{one.name} {one.dtype} {'×'.join(str(axis) for axis in one.shape)}"
