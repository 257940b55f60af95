"""`admlops report`: one self-contained page."""

from __future__ import annotations

import json
from pathlib import Path

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, say


@click.command(epilog="Example: admlops report GroundPlane-20260101-120000-0a1b2c --out report.html")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: report.html in the first run]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where the data set is, if it moved.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(runs: tuple[str, ...], out: Path | None, data: Path | None, dry_run: bool, as_json: bool) -> None:
    """Write one page about RUN..., which opens from disk and needs no network."""
    from admlops.catalog import load_model
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import DataError
    from admlops.core.paths import find_layout
    from admlops.core.types import Planned
    from admlops.datasets.base import open_data
    from admlops.reports import load_run_data, write_report
    from admlops.results.runs import find_run

    layout = find_layout()
    folders = [find_run(layout, name) for name in runs]
    rows = [load_run_data(folder, model=load_model(layout, folder.header.model)) for folder in folders]
    header = folders[0].header
    opened = None
    try:
        opened = open_data(data or Path(header.data.root), header.data.version)
    except DataError as error:
        if data is not None:
            raise
        say(f"pictures are left out: {error.message}")
    target = out or folders[0].report_path
    if dry_run:
        detail = f"about {', '.join(folder.path.name for folder in folders)}"
        show_plan([Planned(action="write", target=str(target), detail=detail)], as_json=as_json)
        return
    path = write_report(target, rows, None, data=opened)
    if out is None:
        with folders[0].lock():
            folders[0].write_manifest()
    click.echo(json.dumps({"report": str(path)}) if as_json else f"report: {path}")
