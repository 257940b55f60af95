"""`admlops frontier`: what each way of running a model gives and costs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT, check_out, open_out, require_out

if TYPE_CHECKING:
    from admlops.pipeline.frontier import Point


@click.command(
    short_help="Show what each way of running a model gives and costs.",
    epilog="Example: admlops frontier --out frontier.html --csv frontier.csv",
)
@click.argument("runs", metavar="[RUN]...", nargs=-1, shell_complete=complete_runs)
@click.option("--out", type=OUT_FILE, help="The page.  [default: frontier.html beside the runs]")
@click.option("--csv", "table", type=OUT_FILE, help="Write the points as comma-separated values, too.")
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def frontier(runs: tuple[str, ...], out: Path | None, table: Path | None, dry_run: bool, as_json: bool) -> None:
    """Put evaluated runs, all or RUNs, side by side: score, streaming score, worst score under faults, p99, J, memory.

    A way of running a model that another beats in everything is grey on the page. Ways are compared only under one
    protocol on the same samples.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError
    from admlops.core.paths import find_layout
    from admlops.core.storage import write_atomically
    from admlops.core.types import Planned
    from admlops.pipeline.frontier import find_points, to_csv
    from admlops.reports.frontier import render_frontier
    from admlops.results.runs import find_run, list_runs

    check_out(out, as_json=as_json)
    check_out(table, as_json=as_json)
    layout = find_layout()
    chosen = [find_run(layout, name) for name in runs] or list_runs(layout)[0]
    target = out or layout.repository / "frontier.html"
    if dry_run:
        steps = [Planned(action="write", target=str(path)) for path in (target, table) if path is not None]
        show_plan(steps, as_json=as_json)
        return
    for path in (target, table):
        if path is not None:
            require_out(path)
    points = find_points(chosen)
    if not points:
        raise UsageError(
            "none of these runs is evaluated with a score of boxes, maps or lane graphs",
            hint="admlops evaluate RUN   # then again",
        )
    with open_out(target) as path:
        write_atomically(path, render_frontier(points).encode())
    if table is not None:
        with open_out(table) as path:
            write_atomically(path, to_csv(points).encode())
    if as_json:
        click.echo(json.dumps({"page": str(target), "points": [point.to_json() for point in points]}, indent=2))
        return
    if STANDARD_OUTPUT in (target, table):
        return
    _print(points)
    note(f"written to {target}")


def _print(points: list[Point]) -> None:
    from admlops.cli.tables import print_table

    names = ("score", "streaming", "worst_fault", "p99_ms", "energy_j", "memory_mb")
    rows = [
        (
            "@".join(filter(None, (one.way.model, one.way.engine))),
            one.fault,
            one.metric,
            *(_spell(one.values.get(name)) for name in names),
            one.dominated_by or "-",
        )
        for one in points
    ]
    print_table(
        ("model", "fault", "metric", "score", "streaming", "worst", "p99 ms", "J", "MB", "beaten by"), rows, narrow=True
    )


def _spell(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
