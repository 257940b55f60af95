"""`admlops results table`: metrics of runs as tables for papers."""

from __future__ import annotations

from pathlib import Path

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.lazy import LazyChoice
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT
from admlops.core.counting import count_of


def _parts() -> tuple[str, ...]:
    from admlops.reports.part_values import PARTS

    return PARTS


@click.command(short_help="Write metrics as a table for a paper.")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option(
    "--format", "form", type=click.Choice(["md", "latex", "csv", "json"]), default="md", show_default=True, help="How."
)
@click.option(
    "--by",
    type=LazyChoice(_parts),
    help="A row for each of these instead of each run.",
)
@click.option("--metric", "metrics", multiple=True, metavar="NAME", help="Show this metric (may be repeated).")
@click.option("--protocol", "protocols", multiple=True, metavar="ID", help="Show this protocol (may be repeated).")
@click.option("--digits", type=click.IntRange(0, 9), help="Digits after the point.  [default: 3; 1 with --percent]")
@click.option("--percent", is_flag=True, help="Show scores in percent; errors stay as they are.")
@click.option("--out", type=OUT_FILE, help="Write it there instead of printing it.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
def table(
    runs: tuple[str, ...],
    form: str,
    by: str | None,
    metrics: tuple[str, ...],
    protocols: tuple[str, ...],
    digits: int | None,
    percent: bool,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write the metrics of evaluated runs as tables: one for each protocol and set of samples.

    The caption says data and n, the best value of comparable runs is bold, intervals are 95 % over scenes. LaTeX needs
    booktabs alone. With --by and several runs, columns are the runs under each protocol's main metric.

    \b
    Example:
      admlops results table first second --format latex --by distance --out distance.tex
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout
    from admlops.core.storage import write_atomically
    from admlops.core.types import Planned
    from admlops.reports.table_text import FORMATS
    from admlops.reports.tables import Style, make_tables, read_sources
    from admlops.results.runs import find_run

    layout = find_layout()
    sources = read_sources([find_run(layout, run) for run in runs])
    style = Style(metrics=metrics, protocols=protocols, digits=digits, percent=percent)
    tables = make_tables(sources, by=by, style=style)
    text = FORMATS["json" if as_json else form](tables)
    if dry_run:
        target = "standard output" if out in (None, STANDARD_OUTPUT) else str(out)
        show_plan([Planned(action="write", target=target, detail=f"{count_of(len(tables), 'table')}")], as_json=as_json)
    elif out is None or out == STANDARD_OUTPUT:
        click.echo(text, nl=False)
    else:
        write_atomically(out, text.encode())
        say(f"table: {out}")
