"""`admlops report`: one self-contained page."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command(epilog="Example: admlops report GroundPlane-20260101-120000-0a1b2c --out report.html")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="[default: report.html in the first run]")
@click.option("--data", type=click.Path(file_okay=False, path_type=Path), help="Where the data set is, if it moved.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(runs: tuple[str, ...], out: Path | None, data: Path | None, as_json: bool) -> None:
    """Write one page about RUN..., which opens from disk and needs no network."""
    from admlops.catalog import load_model
    from admlops.core.errors import DataError
    from admlops.core.paths import find_layout
    from admlops.datasets.base import open_data
    from admlops.reports import load_run_data, write_report
    from admlops.results.runs import find_run

    layout = find_layout()
    folders = [find_run(layout, name) for name in runs]
    rows = [load_run_data(folder, model=load_model(layout, folder.header.model)) for folder in folders]
    roots = {data or Path(one.header.data.root): one.header.data.version for one in reversed(folders)}
    opened = {}
    for root, version in reversed(roots.items()):
        try:
            opened[root] = open_data(root, version)
        except DataError as error:
            if data is not None:
                raise
            click.echo(f"pictures are left out: {error.message}", err=True)
    first = opened.pop(data or Path(folders[0].header.data.root), None)
    path = write_report(out or folders[0].report_path, rows, None, data=first, also=tuple(opened.values()))
    if out is None:
        with folders[0].lock():
            folders[0].write_manifest()
    click.echo(json.dumps({"report": str(path)}) if as_json else f"report: {path}")
