"""`admlops check`: whether models work here."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_model_lists, complete_models
from admlops.cli.conventions import dry_run_option, say, with_format
from admlops.cli.options import DATA, selection_options
from admlops.cli.out_paths import OUT_FOLDER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from admlops.catalog import Model
    from admlops.core.paths import Layout
    from admlops.datasets.base import Dataset
    from admlops.pipeline.check import Checked
    from admlops.pipeline.run_data import RunData
    from admlops.pipeline.run_request import RunRequest


@click.command(epilog="Example: admlops check GroundPlane")
@click.argument("models", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@selection_options
@click.option("--full", is_flag=True, help="Hash every file of MODEL's environment.")
@click.option("--missing", is_flag=True, help="Run nothing: say which data sets and weights a person must fetch.")
@click.option(
    "--models",
    "names",
    metavar="A,B,…",
    shell_complete=complete_model_lists,
    help="Compare these side by side instead of all models.",
)
@click.option("--out", type=OUT_FOLDER, help="Folder for the comparison's files.")
@click.option("--also", type=DATA, help="A second data set to compare on, for models that --data is not for.")
@click.option("--fresh", is_flag=True, hidden=True)  # what a comparison of this command always does
@click.option("--random-weights", is_flag=True, hidden=True)
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def check(
    models: tuple[str, ...],
    full: bool,
    missing: bool,
    names: str | None,
    out: Path | None,
    also: Path | None,
    dry_run: bool,
    as_json: bool,
    fresh: bool,
    random_weights: bool,
    **options: Any,
) -> None:
    """Say whether MODEL works here, from its sources to its report; without MODEL, compare all models.

    With MODEL: its sources are as pinned, its environment is what its locks say and works on this machine, and two
    samples run, are evaluated and drawn. Stops at the first check that fails and ends with 2, or with 1 if the model
    itself fails.

    Without: every model that is set up runs and is evaluated; the table says ready, degraded (and why), failed (what
    to do) or not set up (what is missing). Without a GPU the networks run on the first two samples only.

    Real data and weights are taken where they are set up, else synthetic scenes are made and random weights drawn.
    """
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout

    layout = find_layout()
    if models and (names or out):
        raise UsageError(
            "--models and --out are for a comparison, and MODEL is checked alone",
            hint=f"admlops check {models[0]}   # or: admlops check --models {','.join(models)}",
        )
    if missing:
        _print_missing(layout, models or _split(names), as_json)
        return
    _refuse_exports(layout, models, options)
    if dry_run:
        _preview(layout, models or _split(names), as_json, {**options, "also": also})
    elif models:
        _check_each(layout, models, full, as_json, options)
    elif full:
        raise UsageError("--full is for the environment of one MODEL", hint="admlops check GroundPlane --full")
    else:
        _compare_all(layout, _split(names), out, as_json, {**options, "also": also})


def _split(names: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (names or "").split(",") if name.strip() and name.strip() != "all")


def _check_each(layout: Layout, models: tuple[str, ...], full: bool, as_json: bool, options: dict[str, Any]) -> None:
    """Check one model after the other; one that fails does not keep the others from being checked."""
    from admlops.catalog import load_model
    from admlops.cli.env_manage import hashing
    from admlops.cli.progress import show_progress
    from admlops.pipeline.check import CheckRequest, check_model

    def request(model: str, data: Path) -> RunRequest:
        from admlops.cli.options import make_request

        return make_request(layout, model=model, options={**options, "data": data})

    def draw(target: Path, run: RunData, data: Dataset) -> Path:
        from admlops.reports import write_report

        return write_report(target, [run], None, data=data)

    _refuse_impossible(layout, [load_model(layout, name) for name in models], options)
    checked = []
    for name in models:
        asked = CheckRequest(
            model=name,
            make_request=request,
            draw=draw,
            variant=options["variant"],
            data=options["data"],
            full=full,
            engine=options["engine"],
        )
        checked.append(check_model(layout, asked, say=say, show_progress=show_progress, hashing=hashing))
        if not as_json:
            _print_checked(checked[-1], last=len(checked) == len(models))
    if as_json:
        click.echo(json.dumps([one.to_json() for one in checked], indent=2))
    errors = [one.error for one in checked if one.error is not None]
    if errors:
        raise max(errors, key=lambda error: error.exit_code)


def _refuse_exports(layout: Layout, names: Sequence[str], options: dict[str, Any]) -> None:
    """Refuse an engine that no check of these models can export. Raises AdmlopsError."""
    from admlops.catalog import load_model
    from admlops.pipeline.check import require_exportable

    for name in names if options["engine"] is not None else ():
        require_exportable(load_model(layout, name), options["engine"], options["variant"])


def _refuse_impossible(layout: Layout, models: Sequence[Model], options: dict[str, Any]) -> None:
    """Refuse impossible options before minutes of work, and before scenes are made for them.

    Raises:
        AdmlopsError: no model supports them, or they name parts of a data set and none is there.
        OSError: a file or folder that they name cannot be looked at.
    """
    from admlops.cli.options import make_request
    from admlops.core.errors import UsageError
    from admlops.datasets.base import find_kind
    from admlops.pipeline.compare import Entrant, refuse_impossible
    from admlops.pipeline.default_data import has_data
    from admlops.pipeline.run_engine import engine_for

    for name in ("data", "also"):
        if options.get(name) is not None:
            find_kind(options[name])
    if options["tokens"] is not None and str(options["tokens"]) != "-":
        options["tokens"].stat()
    if options["data"] is None and not any(has_data(layout, kind) for model in models for kind in model.reads):
        parts = {name: options[key] for name, key in _PARTS.items() if options[key]}
        if parts:
            name, value = next(iter(parts.items()))
            value = value[0] if isinstance(value, tuple) else value
            raise UsageError(
                f"{name} {value} names a part of a data set, and none is set up",
                hint="pass --data with its root, or leave the option out: synthetic scenes are made then",
            )
    asked = {**options, "data": options["data"] or layout.data, "split": options["split"] or "all"}
    entrants = [Entrant(model=model, engine=engine_for(model, options["engine"]), label=model.name) for model in models]
    asked["engine"] = entrants[0].engine
    refuse_impossible(entrants, make_request(layout, model=models[0].name, options=asked), None)


_PARTS = {"--version": "version", "--split": "split", "--scene": "scenes", "--tokens": "tokens"}


def _print_checked(one: Checked, *, last: bool) -> None:
    if one.error is None:
        weights = ", with random weights" if one.random_weights else ""
        click.echo(f"report: {one.report}\n{one.model} works{weights}")
    elif not last:
        say(f"{one.model}: {one.steps[-1].name}: {one.error}")


def _preview(layout: Layout, names: tuple[str, ...], as_json: bool, options: dict[str, Any]) -> None:
    """Say what would run: the models that are set up, on the data that would be chosen."""
    from admlops.cli.dry_run import show_plan
    from admlops.pipeline.check import preview_check

    def request(model: str, data: Path) -> RunRequest:
        from admlops.cli.options import make_request

        return make_request(layout, model=model, options={**options, "data": data})

    steps = preview_check(layout, names, make_request=request, data=options["data"], also=options["also"])
    show_plan(steps, as_json=as_json)


def _compare_all(
    layout: Layout, names: tuple[str, ...], out: Path | None, as_json: bool, options: dict[str, Any]
) -> None:
    from admlops.catalog import list_models, load_model
    from admlops.cli.compare import show_comparison
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.pipeline.check import plan_comparison
    from admlops.pipeline.compare import compare_models

    chosen = names or tuple(list_models(layout))
    _refuse_impossible(layout, [load_model(layout, name) for name in chosen], options)
    plan = plan_comparison(
        layout, chosen, data=options["data"], also=options["also"], device=options["device"], say=say
    )
    options |= {"data": plan.data, "limit": options["limit"] or plan.limit}
    done = compare_models(
        layout,
        chosen,
        make_request(layout, model=chosen[0], options=options),
        target=out or layout.repository / "comparisons" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}",
        fresh=True,
        say=say,
        show_progress=show_progress,
        random_weights=True,
        also=plan.also,
    )
    show_comparison(done, as_json=as_json)


def _print_missing(layout: Layout, names: tuple[str, ...], as_json: bool) -> None:
    from dataclasses import asdict

    from admlops.catalog import list_models, load_model
    from admlops.pipeline.default_data import find_missing

    found = find_missing(layout, [load_model(layout, name) for name in names or list_models(layout)])
    if as_json:
        click.echo(json.dumps([asdict(one) for one in found], indent=2))
        return
    for one in found:
        click.echo(f"{one.name}: {one.how} (for {', '.join(one.models)})")
    if not found:
        click.echo("nothing is missing")
