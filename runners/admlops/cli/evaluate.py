"""`admlops evaluate`: official metrics of a run, or of a results file made elsewhere."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.carbon import carbon_options, make_carbon
from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, note, say
from admlops.cli.lazy import LazyChoice

TAG = "tag"
"""The slices that are made only where they are asked for: rules have to be computed over the data set."""

if TYPE_CHECKING:
    from admlops.core.types import Planned
    from admlops.datasets.base import Dataset
    from admlops.evaluation.slice_tables import SliceTable
    from admlops.results.run_folder import RunFolder


def _protocols_on_request() -> list[str]:
    from admlops.catalog.registries import EVALUATIONS

    return [entry.protocol for entry in EVALUATIONS.values() if entry.on_request]


def _formats() -> list[str]:
    from admlops.catalog.registries import SUBMISSION_FORMATS

    return ["auto", *SUBMISSION_FORMATS.ids()]


def _kinds() -> tuple[str, ...]:
    from admlops.evaluation.slice_tables import KINDS

    return tuple(KINDS)


if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.results.run_folder import RunFolder


@click.command(
    epilog="Example: admlops evaluate GroundPlane-20260101-120000-0a1b2c, or "
    "admlops evaluate results_nusc.json --data DIR --split val"
)
@click.argument("run", metavar="RUN|FILE", shell_complete=complete_runs)
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    help="The data set's root. [default: the run's; for a file the one in data/]",
)
@click.option("--official", is_flag=True, help="Run the official code as well, in environments of its own.")
@click.option(
    "--boxes-2d",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="COCO ground truth of boxes in images, for models that detect there.",
)
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=LazyChoice(_protocols_on_request),
    help="Evaluate by this protocol as well (may be repeated); docs/metrics.md defines each.",
)
@click.option(
    "--by",
    "kinds",
    multiple=True,
    type=LazyChoice(_kinds),
    help="Show the metrics of slices of the data as well (may be repeated).",
)
@click.option(
    "--where", metavar="CONDITION", help="Only samples where this holds, such as: tag = 'night' and speed < 5."
)
@click.option(
    "--rules",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Rules of tags (TOML) beside the built-in ones, for --where and --by tag; docs/data-stats.md has the form.",
)
@click.option(
    "--map-truth",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="Ground truth of map elements in MapTR's form (nuscenes_map_anns_val.json), in place of the map expansion.",
)
@click.option("--format", "form", type=LazyChoice(_formats), help="Of FILE. [default: auto]")
@click.option("--split", help="What FILE is about: val, mini_val, … [default: the one whose samples it has]")
@click.option("--version", help="The tables' folder, or OpenLane-V2's subset, for FILE. [default: the only one]")
@click.option("--run", "name", metavar="NAME", help="The run to make of FILE. [default: of its name and content]")
@click.option("--model", metavar="NAME", help="What tables call FILE. [default: its name]")
@carbon_options
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all slices.")
def evaluate(
    run: str,
    data: Path | None,
    official: bool,
    boxes_2d: Path | None,
    map_truth: Path | None,
    form: str | None,
    split: str | None,
    version: str | None,
    name: str | None,
    model: str | None,
    protocols: tuple[str, ...],
    kinds: tuple[str, ...],
    where: str | None,
    rules: Path | None,
    dry_run: bool,
    as_json: bool,
    **place: Any,
) -> None:
    """Compute the official metrics of RUN (a name or a folder) and keep them beside its records.

    FILE is a results file made elsewhere, such as nuScenes' detection JSON: it becomes a run without times, on which
    everything works that works on runs. docs/submissions.md has an example of each format.

    The numbers are computed here, equal to those of the official packages; --official runs these too and prints both.
    Intervals are 95 % over scenes. metrics.json has classes, curves and the worst samples as well. The numbers of
    --where go into a file of their own, and metrics.json stays as it is.

    \b
    Exit code: 0  everything was evaluated
               1  metrics.json is written, and a protocol has no ground truth here, or --official found no code to run
               2  nothing could be evaluated
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.curation.tags import read_rules
    from admlops.curation.where import read_where
    from admlops.evaluation.evaluate import evaluate_run
    from admlops.evaluation.metrics_files import where_path
    from admlops.results.runs import find_run

    chosen = None if where is None else read_where(where, rules)
    tags = read_rules(rules) if TAG in kinds or rules is not None else None
    layout, carbon = find_layout(), make_carbon(place)
    of_file = {"form": form, "split": split, "version": version, "name": name, "model": model}
    is_file = Path(run).is_file()
    if is_file:
        folder = _take(layout, run, data, boxes_2d, {**of_file, "dry_run": dry_run, "as_json": as_json})
    else:
        _refuse_options(run, of_file)
        folder = find_run(layout, run)
    if folder is None:  # --dry-run of a file has said what would be
        return
    opened = _open_data(folder, None if is_file else data, run)
    if dry_run:
        show_plan(_plan(folder, official=official), as_json=as_json)
        return
    with folder.lock():
        metrics = evaluate_run(
            folder,
            opened,
            layout=layout,
            say=say,
            official=official,
            truth_2d=boxes_2d,
            truth_map=map_truth,
            protocols=protocols,
            carbon=carbon,
            where=chosen,
            rules=tags,
        )
        folder.write_manifest()
    written = folder.metrics_path
    if chosen is not None:
        written = where_path(folder, metrics["data"]["samples_sha256"])
    if as_json:
        click.echo(json.dumps(_summary(metrics), indent=2))
    else:
        _print(folder, metrics, kinds, written)
    _end(metrics, official=official)


def _open_data(folder: RunFolder, data: Path | None, run: str) -> Dataset:
    """Open the data set of a run, or the one in `data`; `run` is what the user called the run."""
    from admlops.core.errors import DataError
    from admlops.results.data_set import open_run_data

    header = folder.header
    try:
        return open_run_data(header.data, data)
    except DataError as error:
        raise DataError(
            f"run {header.run} was made on {header.data.version} in {header.data.root}: {error.message}",
            hint=f"admlops evaluate {run} --data DIR   # where that data set is",
        ) from error


def _print(folder: RunFolder, metrics: Mapping[str, Any], kinds: tuple[str, ...], written: Path) -> None:
    from admlops.cli.tables import print_table

    planned = sum(folder.header.scenes.values())
    where = f", where {metrics['data']['where']}" if "where" in metrics["data"] else ""
    note(f"{metrics['samples']} of {planned} samples, {metrics['failed_samples']} failed{where}")
    print_table(*_table(metrics))
    for reason in dict.fromkeys(_reasons(metrics).values()):
        note(f"n/a: {reason}")
    _print_energy(metrics.get("energy"))
    _print_slices(metrics["details"], kinds)
    note(f"written to {written}")


def _take(
    layout: Layout, file: str, data: Path | None, boxes_2d: Path | None, options: Mapping[str, Any]
) -> RunFolder | None:
    from admlops.cli.submission import take_file

    chosen = {**options, "form": options["form"] or "auto"}
    return take_file(layout, Path(file), data=data, truth_2d=boxes_2d, **chosen)


def _refuse_options(run: str, options: Mapping[str, Any]) -> None:
    """Refuse options for results files if the argument is not one."""
    from admlops.core.errors import UsageError

    if Path(run).suffix in (".json", ".pkl", ".zip"):
        raise UsageError(f"there is no file {run}", hint="ls   # name the results file, or a run: admlops results list")
    names = {"form": "--format", "name": "--run"}
    given = [names.get(key, f"--{key}") for key, value in options.items() if value]
    if given:
        what = "is a folder" if Path(run).is_dir() else "is no file"
        raise UsageError(
            f"{', '.join(given)} {'is' if len(given) == 1 else 'are'} for results files, and {run} {what}",
            hint="admlops results list   # or name the file",
        )


def _plan(folder: RunFolder, *, official: bool) -> list[Planned]:
    from admlops.core.types import Planned
    from admlops.results.runs import count_samples

    done, planned = count_samples(folder)
    steps = [Planned(action="evaluate", target=folder.path.name, detail=f"{done} of {planned} samples")]
    if official:
        steps.append(Planned(action="run", target="the official code", detail=f"files in {folder.predictions_path}"))
    return [
        *steps,
        *(
            Planned(action="replace" if path.exists() else "write", target=str(path))
            for path in (folder.metrics_path, folder.manifest_path)
        ),
    ]


def _summary(metrics: Mapping[str, Any]) -> dict[str, Any]:
    keys = ["run", "model", "samples", "failed_samples", "notes", "metrics", "energy", "intervals", "official"]
    keys += ["official_not_run", "not_evaluated"]
    slices = {task: own["breakdowns"] for task, own in metrics["details"].items() if "breakdowns" in own}
    return {**{key: metrics[key] for key in keys if key in metrics}, "breakdowns": slices}


def _end(metrics: Mapping[str, Any], *, official: bool) -> None:
    """End with code 1 where less was computed than there should be; every reason has a next step."""
    for entry in metrics.get("not_evaluated", ()):
        click.echo(f"not evaluated: {entry['protocol']}: {entry['reason']}\n  → {entry['hint']}", err=True)
    missing = any(entry["missing"] for entry in metrics.get("official_not_run", ()))
    if "not_evaluated" in metrics or missing or (official and not metrics.get("official")):
        raise SystemExit(1)


def _table(metrics: Mapping[str, Any]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Columns and rows; the columns `official` and `difference` are there if the official package ran."""
    theirs: dict[tuple[str, str], float | None] = {}
    for entry in (one for package in metrics.get("official", ()) for one in package["metrics"]):
        theirs[entry["protocol"], entry["name"]] = entry["value"]
    columns: tuple[str, ...] = ("metric", "value", "95 % interval", "samples", "protocol")
    if theirs:
        columns = (*columns[:2], "official", "difference", *columns[2:])
    rows = []
    reasons = _reasons(metrics)
    for entry in metrics["metrics"]:
        is_applicable = (entry["protocol"], entry["name"]) not in reasons
        other = theirs.get((entry["protocol"], entry["name"]))
        row: tuple[str, ...] = (entry["name"], _number(entry["value"]) if is_applicable else "n/a")
        if theirs:
            difference = None if other is None or entry["value"] is None else entry["value"] - other
            row = (*row, _number(other), "-" if difference is None else f"{difference:.1e}")
        between = entry["interval"]
        spelled = "-" if between is None else f"{between[0]:.4f} to {between[1]:.4f}"
        rows.append((*row, spelled, _count(entry["n"], metrics), entry["protocol"]))
    return columns, rows


def _print_energy(energy: Mapping[str, Any] | None) -> None:
    """Print a line about energy, and one about carbon, if they were measured."""
    if not energy or energy["j_per_sample"] is None:
        return
    how = "; ".join(part for part in (f"{energy['method']}, {energy['scope']}", energy["reason"]) if part)
    note(f"energy {energy['j_per_sample']:.4g} J/sample, {energy['basis']} ({how})")
    carbon = energy["carbon"]
    if carbon is not None:
        place = f"{carbon['place']} {carbon['year'] or ''}".strip()
        grid = f"{carbon['intensity_kg_per_kwh']:g} kg/kWh, {carbon['source']}, PUE {carbon['pue']:g}"
        note(f"carbon {carbon['g_per_1000_samples']:.4g} g CO2e for 1000 samples ({place}: {grid})")


def _reasons(metrics: Mapping[str, Any]) -> dict[tuple[str, str], str]:
    """By protocol and metric, why it does not apply to the run."""
    from admlops.catalog.protocols import find_evaluation

    found = {}
    for entry in metrics["metrics"]:
        evaluation = find_evaluation(entry["protocol"])
        details = {} if evaluation is None else metrics["details"].get(evaluation.id, {})
        reason = details.get("not_applicable", {}).get(entry["name"])
        if entry["value"] is None and reason is not None:
            found[entry["protocol"], entry["name"]] = reason
    return found


def _count(n: int, metrics: Mapping[str, Any]) -> str:
    """Return a value's number of samples, and how many of them failed if it is over all samples."""
    failed = metrics["failed_samples"]
    return f"{n}, {failed} failed" if failed and n == metrics["samples"] else str(n)


def _print_slices(details: Mapping[str, Any], kinds: tuple[str, ...]) -> None:
    from admlops.cli.tables import print_table
    from admlops.evaluation.slice_tables import find_tables

    for kind in kinds:
        tables = find_tables(details, [kind])
        for reason in dict.fromkeys(table.reason for table in tables if table.reason):
            say(f"nothing by {kind}: {reason}")
        if not tables:
            say(f"nothing by {kind}: no task of this run has such slices; boxes have all of them")
        for table in tables:
            if table.rows:
                note(f"\n{table.task} by {kind} ({table.protocol})")
                print_table((kind, *table.columns), _slice_rows(table), narrow=True)


def _slice_rows(table: SliceTable) -> list[tuple[str, ...]]:
    """Three digits are enough for slices; counts are as they are."""
    return [(name, *(_number(value, digits=3) for value in values)) for name, values in table.rows]


def _number(value: float | None, *, digits: int = 4) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.{digits}f}"
