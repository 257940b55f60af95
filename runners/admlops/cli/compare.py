"""`admlops compare`: models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from admlops.cli.options import FOLDER, selection_options


@click.command(epilog="Example: admlops compare --models MapTR,PETR --data DIR --split mini_val")
@click.option("--models", "names", required=True, metavar="A,B,…", help="Names of the catalogue, or all.")
@selection_options
@click.option("--fresh", is_flag=True, help="Run every model again, even where a finished run would do.")
@click.option("--random-weights", is_flag=True, help="Run models whose weights are missing with random ones.")
@click.option("--also", type=FOLDER, help="A second data set, for models that --data is not for.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), help="Folder for the summary and the report.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def compare(
    names: str,
    fresh: bool,
    random_weights: bool,
    also: Path | None,
    out: Path | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Run what is missing, evaluate, and put models side by side.

    Writes comparison_summary.json and report.html. Scores are ranked only within one protocol on the same samples.
    The table says of each model whether it is ready, degraded (it ran, but not as it is to be judged) or failed.
    """
    from admlops.catalog import list_models
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.errors import RunFailedError, UsageError
    from admlops.core.paths import find_layout
    from admlops.pipeline.compare import compare_models

    layout = find_layout()
    chosen = list_models(layout) if names == "all" else [name.strip() for name in names.split(",") if name.strip()]
    if not chosen:
        raise UsageError("--models names no model", hint="admlops models list   # then pass --models A,B")
    target = out or layout.repository / "comparisons" / f"{datetime.now(UTC):%Y%m%d-%H%M%S}"
    with cancel_on_signals() as cancel:
        done = compare_models(
            layout,
            chosen,
            make_request(layout, model=chosen[0], options=options, cancel=cancel),
            target=target,
            fresh=fresh,
            say=lambda line: click.echo(line, err=True),
            show_progress=show_progress,
            random_weights=random_weights,
            also=also,
        )
    if as_json:
        click.echo(json.dumps(done.summary, indent=1))
    else:
        _print_summary(done.summary)
        click.echo(f"\nsummary: {done.summary_path}\nreport:  {done.report_path}")
    failed = [row.model.name for row in done.rows if row.failed]
    if failed:
        raise RunFailedError(f"failed: {', '.join(failed)}", hint=f"less {done.summary_path}   # says why")


SCORES = {
    "box mAP": ("nuscenes.detection_cvpr_2019", "mAP"),
    "NDS": ("nuscenes.detection_cvpr_2019", "NDS"),
    "map mAP": ("maptr.chamfer-60x30-0.5_1.0_1.5", "mAP"),
    "OLS": ("openlanev2.1.1", "OLS"),
    "plan L2 [m]": ("stp3.planning", "L2_avg"),
}
"""Column → the score in it; a column stands in the table if a model has its score."""


def _print_summary(summary: Mapping[str, Any]) -> None:
    from admlops.cli.tables import print_table

    all_scores = [_scores(model) for model in summary["models"]]
    columns = {name: key for name, key in SCORES.items() if any(key in scores for scores in all_scores)}
    rows = []
    for model, scores in zip(summary["models"], all_scores, strict=True):
        latency = model.get("latency") or {}
        rows.append(
            (
                model["model"],
                model["state"],
                *(_number(scores.get(key)) for key in columns.values()),
                _milliseconds(latency),
                latency.get("verdict", ""),
                model["why"],
            )
        )
    print_table(("model", "state", *columns, "ms/sample", "latency", "why"), rows)


def _scores(model: Mapping[str, Any]) -> dict[tuple[str, str], float | None]:
    """A model's scores by protocol and name; none where the weights are random."""
    judged = () if model.get("random_weights") else model.get("metrics", ())
    return {(metric["protocol"], metric["name"]): metric["value"] for metric in judged}


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _milliseconds(latency: dict[str, Any]) -> str:
    mean_s = (latency.get("inference") or {}).get("mean_s")
    return "" if mean_s is None else f"{1e3 * mean_s:.1f}"
