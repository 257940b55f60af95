"""`admlops battle`: two models against each other, with a winner, a tie, or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.carbon import carbon_options, take_carbon
from admlops.cli.completion import complete_models, complete_runs
from admlops.cli.conventions import dry_run_option, note, say, with_format
from admlops.cli.options import selection_options
from admlops.cli.out_paths import OUT_FOLDER

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from admlops.core.paths import Layout
    from admlops.pipeline.compare import Comparison
    from admlops.pipeline.run_request import RunRequest
    from admlops.results.run_folder import RunFolder


def complete_contenders(
    context: click.Context, parameter: click.Parameter, incomplete: str
) -> list[str | CompletionItem]:
    """Complete names of models and of runs."""
    return [*complete_models(context, parameter, incomplete), *complete_runs(context, parameter, incomplete)]


@click.command(epilog="Example: admlops battle NanoDet GroundPlane --data DIR --metric AP50")
@click.argument("first", metavar="A", shell_complete=complete_contenders)
@click.argument("second", metavar="B", shell_complete=complete_contenders)
@selection_options
@click.option("--metric", help="Primary metric, such as AP50.  [default: the first headline that both have]")
@click.option("--fresh", is_flag=True, help="Run models again, even where a finished run would do.")
@click.option("--random-weights", is_flag=True, help="Run models whose weights are missing with random ones.")
@click.option("--out", type=OUT_FOLDER, help="Folder for the summary and the report.")
@carbon_options
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print the battle as JSON.")
def battle(
    first: str,
    second: str,
    metric: str | None,
    fresh: bool,
    random_weights: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Put two models against each other on the same samples, and say who wins.

    A and B are models, run and evaluated as by `admlops compare`, or runs. The primary metric decides:
    there is a winner only if the 95 % interval of the paired difference excludes 0, else it is a tie; with too few
    scenes or pictures it is not decided. Speed, memory and energy are judged beside it, on equal device, precision
    and batch.
    Writes comparison_summary.json and report.html.
    """
    import json

    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.pipeline.battle import check_metric

    check_metric(metric)
    carbon = take_carbon(options)
    layout = find_layout()
    sides = [_find_side(layout, name) for name in (first, second)]
    _check_sides(first, second)
    target = out or layout.repository / "comparisons" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    models = [one for one in sides if isinstance(one, str)]
    runs = [one for one in sides if not isinstance(one, str)]
    if dry_run:
        show_plan(_preview(layout, models, runs, options, target, fresh, random_weights), as_json=as_json)
        return
    settings = {"fresh": fresh, "random_weights": random_weights, "metric": metric, "carbon": carbon}
    done = _compare(layout, models, runs, options, target=target, **settings)
    page = _write_page(done)
    fought = done.summary["battles"]
    if not fought:
        _refuse(done)
    if as_json:
        click.echo(json.dumps({**fought[0], "summary": str(done.summary_path), "report": str(page)}, indent=2))
        return
    print_battle(fought[0])
    note(f"\nsummary: {done.summary_path}\nreport:  {page}")


def _find_side(layout: Layout, name: str) -> str | RunFolder:
    """Return a model's name, or a run."""
    from admlops.catalog import find_known
    from admlops.core.errors import AdmlopsError, UsageError
    from admlops.deployment.engines import split_checkpoint
    from admlops.results.runs import find_run

    if layout.is_checkout and find_known(layout, split_checkpoint(name)[0]) is not None:
        return name
    try:
        return find_run(layout, name)
    except AdmlopsError as error:
        raise UsageError(
            f"{name} is neither a model of the catalogue nor a run",
            hint="admlops models list; admlops results list   # names of both",
        ) from error


def _check_sides(first: str, second: str) -> None:
    from admlops.core.errors import UsageError

    if first == second:
        raise UsageError(
            f"{first} against itself is always a tie", hint="name two models, or two runs: admlops results list"
        )


def _request(
    layout: Layout, models: Sequence[str], runs: Sequence[RunFolder], options: Mapping[str, Any]
) -> RunRequest:
    """Return the request for the models; beside a run they take its data set, unless another is named."""
    from admlops.cli.options import make_request

    given = dict(options)
    if runs and given.get("data") is None:
        header = runs[0].header
        given["data"] = Path(header.data.root)
        if not given.get("split") and not given.get("scenes"):
            given["scenes"] = tuple(header.scenes)
    return make_request(layout, model=models[0], options=given)


def _compare(
    layout: Layout, models: Sequence[str], runs: Sequence[RunFolder], options: Mapping[str, Any], **more: Any
) -> Comparison:
    from dataclasses import replace

    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.storage import require_writable
    from admlops.pipeline.compare import compare_models, take_runs, write_comparison
    from admlops.results.data_set import open_run_data

    if models:
        request = _request(layout, models, runs, options)
        with cancel_on_signals() as cancel:
            request = replace(request, cancel=cancel)
            return compare_models(layout, models, request, say=say, show_progress=show_progress, runs=runs, **more)
    require_writable(more["target"])
    rows = take_runs(layout, runs, say, carbon=more["carbon"])
    data = [open_run_data(run.header.data) for run in runs]
    return write_comparison(rows, data, target=more["target"], metric=more["metric"])


def _preview(
    layout: Layout,
    models: Sequence[str],
    runs: Sequence[RunFolder],
    options: Mapping[str, Any],
    target: Path,
    fresh: bool,
    random_weights: bool,
) -> list[Any]:
    from admlops.core.types import Planned
    from admlops.pipeline.compare import SUMMARY_FILE
    from admlops.pipeline.preview import preview_comparison

    unread = [run for run in runs if not run.metrics_path.exists()]
    steps = [Planned(action="evaluate", target=run.path.name) for run in unread]
    if not models:
        return [*steps, *(Planned(action="write", target=str(target / name)) for name in (SUMMARY_FILE, "report.html"))]
    request = _request(layout, models, runs, options)
    return [
        *steps,
        *preview_comparison(
            layout, models, request, target=target, fresh=fresh, random_weights=random_weights, also=None
        ),
    ]


def _write_page(done: Comparison) -> Path:
    from admlops.reports import write_report

    target = done.summary_path.with_name("report.html")
    return write_report(target, done.run_data(), done.summary, data=done.data[0], also=done.data[1:])


def _refuse(done: Comparison) -> None:
    """Raise RunFailedError: one of the two gave no evaluated run."""
    from admlops.core.errors import RunFailedError

    lost = [row for row in done.rows if row.metrics is None]
    raise RunFailedError(
        f"no battle: {'; '.join(f'{row.name} {row.status}' for row in lost)}",
        hint=next((row.hint for row in lost if row.hint), f"less {done.summary_path}"),
    )


def print_battle(fought: Mapping[str, Any]) -> None:
    """Print the verdict, and a table with one line per question."""
    from admlops.cli.tables import print_table

    first, second = fought["models"]
    outcome = f"{fought['winner']} wins" if fought["verdict"] == "winner" else fought["verdict"]
    click.echo(f"{first} : {second}: {outcome}")
    note(f"{fought['reason']}\n")
    rows = [_row(one) for one in (fought["primary"], *fought["further"])]
    print_table(("question", first, second, "unit", "verdict"), rows)
    reasons = [f"{one['question']}: {one['reason']}" for one in fought["further"]]
    note("\n" + "\n".join(reasons))
    primary, named = fought["primary"], fought["named"]
    if primary["metric"]:
        count = f", n = {primary['n']}" if primary["n"] else ""
        note(f"score: {primary['metric']} of {primary['protocol']}{count}, {_spell_named(named)}")


def _spell_named(named: str) -> str:
    return "named by --metric" if named == "--metric" else "the first headline that both have"


def _row(one: Mapping[str, Any]) -> tuple[str, ...]:
    name = one["metric"] if one["question"] == "score" else one["question"]
    verdict = f"{one['winner']} wins" if one["verdict"] == "winner" else one["verdict"]
    return (name or "score", _spell(one["a"]), _spell(one["b"]), one["unit"], verdict)


def _spell(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.4g}"
