"""`admlops models`: what the catalogue holds, and whether it is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import with_format
from admlops.cli.models_fork import fork
from admlops.cli.models_memory import memory
from admlops.cli.models_new import new

if TYPE_CHECKING:
    from admlops.catalog import Claim, Detection2D, Model
    from admlops.core.paths import Layout


@click.group()
def models() -> None:
    """List, show and validate the models in envs/; begin a new one.

    \b
    Example:
      admlops models list
    """


@models.command("list", short_help="List all models.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def list_(as_json: bool) -> None:
    """List every model with its tasks, variants and whether it can run now.

    \b
    Example:
      admlops models list --json
    """
    from admlops.catalog import list_models
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout

    layout = find_layout()
    found = [_summarise(layout, name) for name in list_models(layout)]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [(one["name"], ", ".join(one["tasks"]), ", ".join(one["variants"]), one["status"]) for one in found]
    print_table(("model", "tasks", "variants", "status"), rows)


@models.command(short_help="Show one model.")
@click.argument("name", shell_complete=complete_models)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def show(name: str, as_json: bool) -> None:
    """Show one model: source, variants, checkpoints, published numbers, traps.

    \b
    Example:
      admlops models show MapTR
    """
    from admlops.catalog import load_model
    from admlops.core.paths import find_layout
    from admlops.pipeline.readiness import find_readiness

    layout = find_layout()
    model = load_model(layout, name)
    status = {variant: str(find_readiness(layout, model, variant)) for variant in model.variants}
    if as_json:
        click.echo(json.dumps({**model.model_dump(mode="json"), "status": status}, indent=2))
        return
    _print_model(model, status)


@models.command(short_help="Check model.toml files.")
@click.option(
    "--config",
    type=click.Path(path_type=Path, dir_okay=False),
    help="One model.toml, anywhere; without it, every model in envs/.",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the files and every problem.")
def validate(config: Path | None, as_json: bool) -> None:
    """Check model.toml files; every problem is named with its file and key.

    \b
    Example:
      admlops models validate --config envs/MapTR/model.toml
    """
    from admlops.catalog import describe, find_problems, list_models
    from admlops.core.errors import CatalogError
    from admlops.core.paths import find_layout

    if config is None:
        layout = find_layout()
        files = [layout.envs / name / "model.toml" for name in list_models(layout)]
    else:
        files = [config]
    problems = [(file, problem) for file in files for problem in find_problems(file)]
    if as_json:
        named = [{"file": str(file), "key": one.key, "expected": one.expected} for file, one in problems]
        click.echo(json.dumps({"files": [str(file) for file in files], "problems": named}, indent=2))
    if problems:
        if config is not None and not config.exists():
            raise CatalogError(describe(config, problems[0][1]), hint=f"ls {config.parent}   # name a model.toml")
        option = f" --config {config}" if config else ""
        lines = [describe(file, problem) for file, problem in problems]
        raise CatalogError("\n".join(lines), hint=f"admlops models validate{option}   # after mending them")
    if not as_json:
        click.echo(f"{len(files)} models are valid" if config is None else f"{config} is valid")


def _summarise(layout: Layout, name: str) -> dict[str, Any]:
    """One row of the list. A model whose file is wrong is a row that says so: the others stay usable."""
    from admlops.catalog import load_model
    from admlops.core.errors import CatalogError
    from admlops.pipeline.readiness import find_readiness

    try:
        model = load_model(layout, name)
    except CatalogError:
        reason = f"not valid: admlops models validate --config {layout.envs / name / 'model.toml'}"
        return {"name": name, "summary": "", "tasks": [], "variants": [], "status": reason}
    return {
        "name": name,
        "summary": model.summary,
        "tasks": list(model.tasks),
        "variants": list(model.variants),
        "status": str(find_readiness(layout, model)),
    }


def _describe_sensors(model: Model) -> str:
    """Say which sensors the model uses, and which configurations use others."""
    others = (f"config {name}: {' and '.join(sensors)}" for name, sensors in model.config_sensors.items())
    return "; ".join([" and ".join(model.sensors), *others])


def _print_model(model: Model, status: dict[str, str]) -> None:
    from admlops.cli.tables import print_table
    from admlops.environments.licences import asked_licences

    source = model.source
    pinned = f"{source.repository} at {source.commit}" if source.kind == "git" else f"in {model.folder}"
    click.echo(f"{model.name}: {model.summary}")
    temporal = ", temporal" if model.temporal else ""
    click.echo(f"tasks     {', '.join(model.tasks)} on {' or '.join(model.reads)}{temporal}")
    click.echo(f"sensors   {_describe_sensors(model)}")
    click.echo(f"source    {pinned}")
    weights = f"; weights: {model.weights_license}" if model.weights_license else ""
    asked = " (asked for before it is installed)" if asked_licences(model) else ""
    click.echo(f"licence   {model.license}{weights}{asked}")
    if model.frame is not None:
        boxes = "" if model.box_convention is None else f", box convention {model.box_convention}"
        click.echo(f"outputs   {model.frame} frame{boxes}; records are in the ego frame")
    if model.detection_2d is not None:
        click.echo(f"boxes     {_describe_boxes(model.detection_2d)}")
    _print_section("Variants")
    variants = [
        (name + (" (default)" if name == model.default_variant else ""), one.python, ", ".join(one.arch), status[name])
        for name, one in model.variants.items()
    ]
    print_table(("variant", "python", "GPU architectures", "status"), variants)
    if model.checkpoints:
        _print_section("Checkpoints")
        rows = [(name, model.configs[one.config], ", ".join(one.fixes)) for name, one in model.checkpoints.items()]
        print_table(("checkpoint", "config", "fixes"), rows)
    if model.not_runnable:
        _print_section("Configs that no variant runs")
        print_table(("config", "why"), list(model.not_runnable.items()))
    if model.options:
        _print_section("Options of a run (--option NAME=VALUE)")
        options = [(name, ", ".join(option.values), option.description) for name, option in model.options.items()]
        print_table(("option", "values", "what it does"), options)
    if model.published:
        _print_section("Published")
        print_table(("metric", "value", "protocol", "of", "source"), [_claim_row(claim) for claim in model.published])
    if model.notes:
        _print_section("Notes")
        for note in model.notes:
            click.echo(f"- {note}")


def _describe_boxes(stated: Detection2D) -> str:
    """Say in one line how the boxes of an image detector are interpreted."""
    nms = (
        "no non-maximum suppression" if stated.nms_iou is None else f"non-maximum suppression at IoU {stated.nms_iou:g}"
    )
    return f"meant from confidence {stated.operating_threshold:g} on, given from {stated.min_confidence:g} on; {nms}"


def _claim_row(claim: Claim) -> tuple[str, ...]:
    of = claim.checkpoint or f"{claim.config} (no weights published)"
    source = f"{claim.source}, {claim.device}" if claim.device else claim.source
    return claim.metric, f"{claim.value:g}", claim.protocol, of, source


def _print_section(title: str) -> None:
    click.echo(f"\n{title}")


models.add_command(fork)
models.add_command(memory)
models.add_command(new)
