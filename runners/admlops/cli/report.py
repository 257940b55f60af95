"""`admlops report`: one self-contained page."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.out_paths import OUT_FILE, OUT_FOLDER, STANDARD_OUTPUT, OutPath, check_out, open_out
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.datasets.base import Dataset
    from admlops.pipeline.run_data import RunData
    from admlops.reports.rerun_recording import Recorded
    from admlops.results.run_folder import RunFolder


@click.command(epilog="Example: admlops report GroundPlane-20260101-120000-0a1b2c --out report.html --rerun run.rrd")
@click.argument("runs", metavar="RUN...", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--out", type=OUT_FILE, help="The page; - prints it. [default: report.html in the first run]")
@click.option("--data", type=click.Path(path_type=Path), help="Where the data set is, if it moved.")
@click.option("--figures", type=OUT_FOLDER, help="Write figures for papers there: SVG and PDF.")
@click.option(
    "--rerun",
    metavar="FILE.rrd",
    type=OutPath(dir_okay=False),
    help="Write every sample of the run for the Rerun viewer, too: pictures, LiDAR points, boxes, lines, the path.",
)
@click.option("--scene", "scenes", multiple=True, metavar="NAME", help="With --rerun: only this scene; repeatable.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def report(
    runs: tuple[str, ...],
    out: Path | None,
    data: Path | None,
    figures: Path | None,
    rerun: Path | None,
    scenes: tuple[str, ...],
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write one page about RUN..., which opens from disk and needs no network.

    With --figures, each chart is a file as well: a model has the same colour in all of them, and the same runs give the
    same bytes.
    """
    from admlops.catalog import find_known
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import DataError
    from admlops.core.paths import find_layout
    from admlops.core.storage import require_writable
    from admlops.core.types import Planned
    from admlops.reports import load_run_data, write_report
    from admlops.results.data_set import open_run_data
    from admlops.results.runs import find_run

    check_out(out, as_json=as_json)
    _check_rerun(runs, rerun, scenes)
    layout = find_layout()
    folders = [find_run(layout, name) for name in runs]
    rows = [load_run_data(folder, model=find_known(layout, folder.header.model)) for folder in folders]
    roots = {data or Path(one.header.data.root): one.header.data for one in reversed(folders)}
    opened = {}
    for root, described in reversed(roots.items()):
        try:
            opened[root] = open_run_data(described, root)
        except DataError as error:
            if data is not None or rerun is not None:
                raise
            say(f"pictures are left out: {error.message}")
    target = out or folders[0].report_path
    if dry_run:
        detail = f"about {', '.join(folder.path.name for folder in folders)}"
        files = [one for one in (target, figures, rerun) if one is not None]
        show_plan([Planned(action="write", target=str(one), detail=detail) for one in files], as_json=as_json)
        return
    if figures is not None:
        require_writable(figures)  # before the page is written: half of what was asked for helps nobody
    first = opened.pop(data or Path(folders[0].header.data.root), None)
    written: dict[str, str] = {}
    if rerun is not None and first is not None:
        written["rerun"] = str(_record(rerun, folders[0], rows[0], first, scenes, as_json=as_json).path)
    with open_out(target) as path:
        write_report(path, rows, None, data=first, also=tuple(opened.values()))
    if out is None:
        with folders[0].lock():
            folders[0].write_manifest()
    written = {"report": str(target), **written}
    drawn = _write_figures(figures, rows)
    if as_json:
        click.echo(json.dumps({**written, "figures": [str(one) for one in drawn]}, indent=2))
        return
    tell = say if target == STANDARD_OUTPUT else click.echo
    tell("\n".join(f"{kind}: {file}" for kind, file in written.items() if file != "-"))
    if figures is not None:
        tell(f"figures: {count_of(len(drawn), 'file')} in {figures}")


def _write_figures(folder: Path | None, rows: Sequence[RunData]) -> list[Path]:
    if folder is None:
        return []
    from admlops.reports.figure_files import write_figures

    return write_figures(folder, rows)


def _check_rerun(runs: tuple[str, ...], rerun: Path | None, scenes: tuple[str, ...]) -> None:
    """Refuse impossible options before anything is read or written."""
    from admlops.core.errors import UsageError

    if rerun is None:
        if scenes:
            raise UsageError("--scene chooses what --rerun writes", hint=f"admlops report {runs[0]} --rerun run.rrd")
        return
    if len(runs) > 1:
        raise UsageError("--rerun takes one run at a time", hint=f"admlops report {runs[0]} --rerun {rerun}")
    from admlops.reports.rerun_recording import load_rerun

    load_rerun()


def _record(
    target: Path, run: RunFolder, row: RunData, data: Dataset, scenes: tuple[str, ...], *, as_json: bool
) -> Recorded:
    from admlops.reports.rerun_recording import write_recording

    total = sum(count for scene, count in run.header.scenes.items() if not scenes or scene in scenes)
    cutoffs = (row.metrics or {}).get("operating_points")
    with click.progressbar(length=total, label=f"write {target}", file=sys.stderr, hidden=as_json) as bar:
        done = write_recording(
            target, run, data, scenes=scenes, cutoffs=cutoffs, watch=lambda count: bar.update(count - bar.pos)
        )
    for note in done.notes:
        click.echo(note, err=True)
    return done
