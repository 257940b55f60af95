"""`admlops results`: the runs on disk, listed, shown, verified, compared, tabulated, exported and indexed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, note, say, with_format
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT, check_out, open_out
from admlops.cli.results_list import list_, summarise, unread
from admlops.cli.results_manage import remove, tag
from admlops.cli.results_merge import merge
from admlops.cli.results_store import pull, push
from admlops.cli.results_table import table
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from admlops.results.header import RunHeader
    from admlops.results.run_folder import RunFolder


TABLES = ("jsonl", "csv", "parquet")
"""The forms that hold standard records, and no submission."""


@click.group()
def results() -> None:
    """List, show, verify, compare, tabulate, export, index, merge, push, pull, tag and remove runs.

    \b
    Example:
      admlops results list
    """


results.add_command(list_)
results.add_command(merge)
results.add_command(push)
results.add_command(pull)
results.add_command(remove)
results.add_command(tag)
results.add_command(table)


@results.command(short_help="Show one run.")
@click.argument("run", shell_complete=complete_runs)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def show(run: str, as_json: bool) -> None:
    """Show one run: where it comes from, what failed, its metrics.

    RUN is a run's name or the path of its folder.

    \b
    Example:
      admlops results show GroundPlane-20260102-030405-a1b2c3
    """
    from admlops.core.paths import find_layout
    from admlops.results.index import read_metrics
    from admlops.results.lost_devices import list_lost_devices
    from admlops.results.runs import find_run

    folder = find_run(find_layout(), run)
    failures = Counter[str](one.metadata.failure.kind for one in folder.records() if one.metadata.failure)
    metrics = read_metrics(folder)
    if not as_json:
        _print_run(folder, failures, metrics)
        return
    import msgspec

    header = msgspec.to_builtins(folder.header)
    lost = [one.facts for one in list_lost_devices(folder)]
    shown = {**summarise(folder), "failures": failures, "lost_devices": lost, "header": header, "metrics": metrics}
    click.echo(json.dumps(shown, indent=2))


@results.command(short_help="Check every file of a run.")
@click.argument("run", shell_complete=complete_runs)
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def verify(run: str, as_json: bool) -> None:
    """Read every file of a run again: the hashes of its manifest, and each record against the standard record.

    The digest of the records leaves out the run's name and what was measured: two runs with one digest gave the same
    outputs for the same samples.

    \b
    Example:
      admlops results verify GroundPlane-20260102-030405-a1b2c3
    """
    from admlops.core.errors import DifferencesError
    from admlops.core.paths import find_layout
    from admlops.results.run_folder import records_digest
    from admlops.results.runs import find_run

    folder = find_run(find_layout(), run)
    changed = folder.check_manifest()
    digest = None if changed else records_digest(folder)
    records = 0 if changed else folder.count_statuses().total()
    if as_json:
        found = {"run": folder.path.name, "changed": changed, "records": records, "records_sha256": digest}
        click.echo(json.dumps(found, indent=2))
    elif not changed:
        click.echo(f"{folder.path.name}: every file is as its manifest says, {records} records are whole")
        click.echo(f"digest of the records, equal for equal outputs: {digest}")
    if changed:
        raise DifferencesError(
            f"{count_of(len(changed), 'file')} of {folder.path} missing or not as its manifest says: "
            f"{', '.join(changed[:5])}",
            hint="make the run again, or bring these files back from where they were kept",
        )


@results.command(short_help="Compare two runs, with interval and p-value.")
@click.argument("first", metavar="A", shell_complete=complete_runs)
@click.argument("second", metavar="B", shell_complete=complete_runs)
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def compare(first: str, second: str, as_json: bool) -> None:
    """Compare two evaluated runs over the same samples: B - A, its 95 % interval, and a p-value.

    Both are resampled with the same scenes, so scenes that are hard for both do not blur the difference. Runs over
    different samples, and metrics of different protocols, are not compared.

    \b
    Example:
      admlops results compare PETR-20260102-030405-a1b2c3 StreamPETR-20260102-040506-d4e5f6
    """
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout
    from admlops.evaluation.statistics.paired_bootstrap import compare_evaluated, read_evaluated
    from admlops.results.labels import label_run
    from admlops.results.runs import find_run

    layout = find_layout()
    folders = [find_run(layout, name) for name in (first, second)]
    a, b = (read_evaluated(folder) for folder in folders)
    differences = compare_evaluated(a, b)
    for one in folders:
        if one.header.random_weights:
            say(f"{one.path.name} ran with random weights: its numbers say nothing about the model")
    if as_json:
        shown = {"a": a.name, "b": b.name, "metrics": [one.to_json() for one in differences]}
        click.echo(json.dumps(shown, indent=2))
        return
    label_a, label_b = (label_run(one.header) for one in folders)
    note(f"A  {a.name} ({label_a})\nB  {b.name} ({label_b})\n")
    rows = [
        (
            one.metric,
            _spell(one.a),
            _spell(one.b),
            "" if one.difference is None else f"{one.difference:+.4f}",
            "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}",
            "" if one.p_value is None else f"{one.p_value:.3f}",
            one.protocol,
        )
        for one in differences
    ]
    print_table(("metric", "A", "B", "B - A", "95 % interval", "p", "protocol"), rows)
    for reason in dict.fromkeys(one.reason for one in differences if one.reason):
        say(f"no interval and no p-value: {reason}")


@results.command(short_help="Write records in another form.")
@click.argument("run", shell_complete=complete_runs)
@click.option(
    "--format",
    "form",
    metavar="FORM",
    required=True,
    help="jsonl, csv, parquet; or a submission: nuscenes, maptr, openlanev2, vad, coco.",
)
@click.option("--out", type=OUT_FILE, required=True, help="The file to write; - prints it.")
@click.option(
    "--table",
    type=click.Choice(["samples", "detections", "map_elements"]),
    default="samples",
    show_default=True,
    help="What a row is, for csv and parquet.",
)
@click.option(
    "--data", type=click.Path(path_type=Path), help="The data set's root, for submissions.  [default: the run's]"
)
@click.option(
    "--boxes-2d",
    type=click.Path(dir_okay=False, exists=True, path_type=Path),
    metavar="FILE",
    help="COCO ground truth whose ids of images and categories are written, for coco.",
)
@click.option("--force", is_flag=True, help="Replace the file if it is there.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def export(
    run: str,
    form: str,
    out: Path,
    table: str,
    data: Path | None,
    boxes_2d: Path | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a run's records in another form.

    jsonl: the standard records, one a line. csv, parquet: one flat table; column names carry the units. The others are
    submissions as the official side takes them; docs/submissions.md describes each.

    \b
    Example:
      admlops results export GroundPlane-20260102-030405-a1b2c3 --format csv --table detections --out boxes.csv
    """
    from admlops.catalog.registries import SUBMISSION_FORMATS
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout, user_path
    from admlops.core.types import Planned
    from admlops.datasets.base import find_kind
    from admlops.results import export as exporting
    from admlops.results.runs import find_run

    if form not in TABLES and form not in SUBMISSION_FORMATS:
        forms = ", ".join((*TABLES, *SUBMISSION_FORMATS.ids()))
        raise UsageError(f"--format {form} is none of {forms}", hint="admlops results export --help")
    folder = find_run(find_layout(), run)
    if data is not None:
        if not user_path(data).exists():
            raise UsageError(f"--data {data} is not there", hint="name the data set's root, or leave --data out")
        find_kind(data)  # a wrong one is told even where the form needs none
    check_out(out, as_json=as_json)
    if out != STANDARD_OUTPUT and out.exists() and not force:
        raise UsageError(f"--out {out} is there already", hint="choose another file, or add --force to replace it")
    if dry_run:
        what = table if form in ("csv", "parquet") else "records"
        show_plan([Planned(action="write", target=str(out), detail=f"{what} as {form}")], as_json=as_json)
        return
    with open_out(out) as target:
        if form == "jsonl":
            count, what = exporting.export_jsonl(folder, target), "records"
        elif form not in TABLES:
            from admlops.pipeline.export_submission import export_submission

            count, what = export_submission(folder, form, target, data=data, truth_2d=boxes_2d), "samples"
        else:
            write = exporting.export_csv if form == "csv" else exporting.export_parquet
            count, what = write(folder, target, table=table), "rows"
    if as_json:
        click.echo(json.dumps({"run": folder.path.name, "format": form, what: count, "out": str(out)}, indent=2))
    elif out == STANDARD_OUTPUT:
        say(f"{count} {what}")
    else:
        click.echo(f"{count} {what} → {out}")


@results.command(short_help="Rebuild the index over all runs.")
@click.option(
    "--database", metavar="URL", help="Fill the tables of this SQLite or PostgreSQL database, such as the service's."
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def index(database: str | None, dry_run: bool, as_json: bool) -> None:
    """Make runs/index.duckdb anew from the runs' files.

    With --database the runs, their metrics and the comparisons go into the tables `runs`, `metrics`, `comparisons` and
    `comparison_results` of a database that others query too; a running service keeps those of its own up to date.

    \b
    Example:
      admlops results index && duckdb admlops_repository/runs/index.duckdb "FROM metrics"
    """
    if database is not None:
        from admlops.cli.results_database import fill_database

        fill_database(database, dry_run=dry_run, as_json=as_json)
        return
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.core.types import Planned
    from admlops.results.index import INDEX_NAME, build_index
    from admlops.results.runs import list_runs

    layout = find_layout()
    if dry_run:
        count = len(list_runs(layout)[0])
        show_plan(
            [Planned(action="write", target=str(layout.runs / INDEX_NAME), detail=f"{count_of(count, 'run')}")],
            as_json=as_json,
        )
        return
    built = build_index(layout)
    if as_json:
        counts = {"file": str(built.file), "runs": built.runs, "samples": built.samples}
        click.echo(json.dumps({**counts, "skipped": unread(built.skipped)}, indent=2))
        return
    click.echo(f"{count_of(built.runs, 'run')}, {count_of(built.samples, 'sample')} → {built.file}")
    for one in built.skipped:
        say(f"skipped {one.folder.name}: {one.reason}")


@results.command(short_help="Print the JSON Schema of the record.")
@click.option("--out", type=OUT_FILE, help="Write it there instead of printing it.")
@dry_run_option
def schema(out: Path | None, dry_run: bool) -> None:
    """Print the JSON Schema (Draft 2020-12) of the standard record.

    \b
    Example:
      admlops results schema --out docs/record.schema.json
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.storage import write_atomically
    from admlops.core.types import Planned
    from admlops.results.record_json import record_schema

    text = json.dumps(record_schema(), indent=2, ensure_ascii=False) + "\n"
    if out is None or out == STANDARD_OUTPUT:
        click.echo(text, nl=False)
    elif dry_run:
        show_plan([Planned(action="write", target=str(out))], as_json=False)
    else:
        write_atomically(out, text.encode())


def _print_run(run: RunFolder, failures: Mapping[str, int], metrics: dict[str, Any] | None) -> None:
    from admlops.cli.tables import print_table
    from admlops.results.lost_devices import list_lost_devices
    from admlops.results.refused_graphs import list_refused_graphs

    one, header = summarise(run), run.header
    click.echo(f"{one['run']}: {header.model} ({header.variant}), {one['state']}{_way_on(run, one)}")
    click.echo(f"samples      {one['complete_samples']} of {one['samples']} in {count_of(len(header.scenes), 'scene')}")
    click.echo(f"covers       {header.coverage}")
    click.echo(f"failed       {', '.join(f'{count} × {kind}' for kind, count in failures.items()) or 'none'}")
    for lost in list_lost_devices(run):
        click.echo(f"lost         {lost.sentence}\n             → {lost.hint}")
    click.echo(f"data         {one['data']} in {header.data.root}, split {header.data.split or 'none'}")
    click.echo(_describe_source(header))
    if header.random_weights:
        click.echo(f"weights      {header.random_weights}: the metrics say nothing about {header.model}")
    for part, why in list_refused_graphs(run).items():
        click.echo(f"graphs       {part} ran without one: {why}")
    if header.engine is not None:
        state = header.engine_doubt or "verified on this machine"
        click.echo(f"engine       {header.engine_label}, {header.engine.get('provider')}, {state}")
    click.echo(f"code         {header.provenance.commit or 'not a git checkout'}")
    click.echo(f"created      {header.created}")
    click.echo(f"folder       {run.path}")
    if metrics is None:
        click.echo(f"\nnot evaluated: admlops evaluate {one['run']}")
        return
    click.echo("")
    rows = [
        (each["name"], _spell(each["value"]), _spell_interval(each["interval"]), each["protocol"], str(each["n"]))
        for each in metrics["metrics"]
    ]
    print_table(("metric", "value", "95 % interval", "protocol", "n"), rows)


def _describe_source(header: RunHeader) -> str:
    """Say what the records come from: an environment, or a results file."""
    import msgspec

    if header.submission is not msgspec.UNSET:
        source = header.submission
        return f"file         {source.file} ({source.format}, sha256 {source.sha256[:12]})"
    own = header.environment
    return f"environment  {own.name} ({own.digest[:12]}, {own.backend})"


def _way_on(run: RunFolder, one: Mapping[str, Any]) -> str:
    """Return the error that ended a run, if one did, and the command that goes on with an incomplete one."""
    if one["state"] == "running":
        return ""
    if one["state"] == "complete":
        retry = f"\n             → {run.header.retry_command}" if one["failed_samples"] else ""
        return f", {one['failed_samples']} of {one['samples']} samples failed{retry}" if retry else ""
    ended: dict[str, Any] = next((event for event in reversed(run.events()) if event.get("event") == "run_ended"), {})
    reason = f": {ended['error']}" if one["state"] == "failed" and ended.get("error") else ""
    return f"{reason}\n             → {run.header.resume_command}"


def _spell(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.4f}"


def _spell_interval(interval: tuple[float, float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"
