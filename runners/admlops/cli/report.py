"""`admlops report`: one self-contained page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from admlops.pipeline.run_data import RunData


@click.command(epilog="Example: admlops report GroundPlane-20260101-120000-0a1b2c --out report.html")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: report.html in the first run]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where the data set is, if it moved.")
@click.option(
    "--figures", type=click.Path(file_okay=False, path_type=Path), help="Write figures for papers there: SVG and PDF."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(runs: tuple[str, ...], out: Path | None, data: Path | None, figures: Path | None, as_json: bool) -> None:
    """Write one page about RUN..., which opens from disk and needs no network.

    With --figures, each chart is a file as well: a model has the same colour in all of them, and the same runs give the
    same bytes.
    """
    from admlops.catalog import find_known
    from admlops.core.errors import DataError
    from admlops.core.paths import find_layout
    from admlops.datasets.base import open_data
    from admlops.reports import load_run_data, write_report
    from admlops.results.runs import find_run

    layout = find_layout()
    folders = [find_run(layout, name) for name in runs]
    rows = [load_run_data(folder, model=find_known(layout, folder.header.model)) for folder in folders]
    header = folders[0].header
    opened = None
    try:
        opened = open_data(data or Path(header.data.root), header.data.version)
    except DataError as error:
        if data is not None:
            raise
        click.echo(f"pictures are left out: {error.message}", err=True)
    path = write_report(out or folders[0].report_path, rows, None, data=opened)
    if out is None:
        with folders[0].lock():
            folders[0].write_manifest()
    drawn = _write_figures(figures, rows)
    if as_json:
        click.echo(json.dumps({"report": str(path), "figures": [str(one) for one in drawn]}))
        return
    click.echo(f"report: {path}")
    if figures is not None:
        click.echo(f"figures: {len(drawn)} files in {figures}")


def _write_figures(folder: Path | None, rows: Sequence[RunData]) -> list[Path]:
    if folder is None:
        return []
    from admlops.reports.figure_files import write_figures

    return write_figures(folder, rows)
