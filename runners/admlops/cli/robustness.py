"""`admlops robustness`: models under faults of their sensors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import dry_run_option, note, say, with_format
from admlops.cli.options import selection_options
from admlops.cli.out_paths import OUT_FOLDER

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.pipeline.robustness import Cell
    from admlops.results.run_folder import RunFolder


@click.command(
    short_help="Run models under faults of their sensors.",
    epilog="Example: admlops robustness GroundPlane --name first --fault fog --fault snow",
)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_models)
@selection_options
@click.option("--name", default="robustness", show_default=True, help="The grid's name: its runs begin with it.")
@click.option(
    "--fault", "faults", multiple=True, metavar="NAME", help="A fault (may repeat). [default: all eight of RoboBEV]"
)
@click.option("--all-faults", is_flag=True, help="Faults of the rig and of the LiDAR as well.")
@click.option(
    "--level", "levels", multiple=True, type=int, metavar="1|2|3", help="A level (may repeat). [default: all]"
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="What the faults are drawn from.")
@click.option("--baseline", metavar="MODEL", help="What mCE is relative to, one of MODEL. [default: published DETR3D]")
@click.option("--out", type=OUT_FOLDER, help="Folder for the summary and the page.")
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print the summary as JSON.")
def robustness(
    models: tuple[str, ...],
    name: str,
    faults: tuple[str, ...],
    all_faults: bool,
    levels: tuple[int, ...],
    seed: int,
    baseline: str | None,
    out: Path | None,
    dry_run: bool,
    as_json: bool,
    **options: Any,
) -> None:
    """Run each MODEL with whole sensors and with every fault at every level, and say what is left of its scores.

    Writes robustness.json and robustness.html: mRR and mCE beside published values, a heat map, the pictures. What is
    complete is not run again: after a stop the same command goes on. Nothing but records is stored.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.options import make_request
    from admlops.cli.progress import show_progress
    from admlops.cli.signals import cancel_on_signals
    from admlops.core.paths import find_layout
    from admlops.core.storage import require_writable, write_atomically
    from admlops.pipeline.robustness import (
        check_baseline,
        list_cells,
        preview_grid,
        run_grid,
        stopped,
        summarize_grid,
        write_summary,
    )
    from admlops.reports.robustness import render_robustness
    from admlops.worker.corruptions.fault import LEVELS, NAMES, PICTURES

    layout = find_layout()
    check_baseline(models, baseline)
    chosen = tuple(dict.fromkeys(faults)) or (NAMES if all_faults else PICTURES)
    cells = list_cells(name, tuple(dict.fromkeys(models)), chosen, sorted(set(levels)) or LEVELS, seed)
    target = out or layout.repository / "robustness" / name
    if dry_run:
        show_plan(preview_grid(layout, cells), as_json=as_json)
        return
    require_writable(target)
    with cancel_on_signals() as cancel:
        request = make_request(layout, model=models[0], options=options, cancel=cancel)
        try:
            done = run_grid(layout, cells, request, say=say, show_progress=show_progress)
        except KeyboardInterrupt:  # between two runs, or while one is evaluated
            raise stopped() from None
    summary = summarize_grid(name, done, baseline=baseline)
    path = write_summary(target, summary)
    page = target / "robustness.html"
    write_atomically(page, render_robustness(summary, _pictures(layout, target, done)).encode())
    if as_json:
        click.echo(json.dumps({**summary, "page": str(page)}, indent=2))
        return
    _print(summary)
    note(f"written to {path} and {page}")


def _pictures(layout: Layout, target: Path, done: Sequence[tuple[Cell, RunFolder]]) -> Mapping[str, str]:
    """Return the pictures of the page; none, and a sentence, if they cannot be made."""
    from admlops.catalog import load_model
    from admlops.core.errors import AdmlopsError
    from admlops.pipeline.fault_pictures import make_fault_pictures

    header = done[0][1].header
    faults = list(dict.fromkeys(cell.fault for cell, _ in done if cell.fault is not None))
    try:
        model = load_model(layout, header.model)
        return make_fault_pictures(layout, model, header, faults, log=target / "pictures.log", say=say)
    except AdmlopsError as error:
        say(f"the page has no pictures: {error.message}")
        return {}


def _print(summary: Mapping[str, Any]) -> None:
    from admlops.cli.tables import print_table

    heads = ("model", "score", "clean", "worst", "mRR %", "95 %", "mCE %", "95 %", "protocol")
    rows = []
    for name, model in summary["models"].items():
        for protocol, found in model["scores"].items():
            rows.append(
                (
                    name,
                    found["metric"],
                    f"{found['clean']:.4f}",
                    _spell(found["worst"], 4),
                    _spell(found["mRR"], 2),
                    _spell_interval(found["mRR_interval"]),
                    _spell(found["mCE"], 2),
                    _spell_interval(found["mCE_interval"]),
                    protocol,
                )
            )
    print_table(heads, rows, narrow=True)
    if not summary["complete"]:
        note("mRR and mCE are over the faults and levels that were run, not over all eight at three")
    note(f"not to be ranked against published values: {summary['why']}")


def _spell(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _spell_interval(between: Sequence[float] | None) -> str:
    return "-" if between is None else f"{between[0]:.1f} to {between[1]:.1f}"
