"""`admlops streaming`: a run over inputs at 12 Hz under other latencies than its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import note, with_format
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT, check_out, open_out, require_out
from admlops.evaluation.streaming.options import CLOCKS, DRAWS, SCHEDULES, StreamOptions

if TYPE_CHECKING:
    from fractions import Fraction


@click.command(
    short_help="Show what a stream's outputs are worth under other latencies.",
    epilog="Example: admlops streaming drive --latencies orin.txt --out curve.html",
)
@click.argument("run", metavar="RUN", shell_complete=complete_runs)
@click.option(
    "--factor", "factors", multiple=True, metavar="X",
    help="Multiply latencies by this (may be repeated). [default: 0, 0.25, 0.5, 1, 2, 4]",
)  # fmt: skip
@click.option(
    "--latencies", type=click.Path(path_type=Path), metavar="FILE",
    help="Latencies of another device [ms], one a line or a JSON list. [default: the run's own]",
)  # fmt: skip
@click.option("--clock", type=click.Choice(CLOCKS), default=CLOCKS[0], show_default=True, help="Which of its times.")
@click.option("--draw", type=click.Choice(DRAWS), default=DRAWS[0], show_default=True, help="How latencies are taken.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of --draw seeded.")
@click.option("--schedule", type=click.Choice(SCHEDULES), default=SCHEDULES[0], show_default=True,
              help="Which input a late model takes.")  # fmt: skip
@click.option("--out", type=OUT_FILE, help="Write a page with the curve, too.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every metric.")
def streaming(
    run: str,
    factors: tuple[str, ...],
    latencies: Path | None,
    clock: str,
    draw: str,
    seed: int,
    schedule: str,
    out: Path | None,
    as_json: bool,
) -> None:
    """Simulate RUN, made with --stream, under multiples of its latencies, or under those of another device.

    Only the simulation and the evaluation are done again. At factor 0 every output counts at its own moment, which no
    model reaches: it is the offline value on annotations at 12 Hz. docs/streaming.md defines all of it.
    """
    from admlops.core.paths import find_layout
    from admlops.core.storage import write_atomically
    from admlops.pipeline.stream_curve import FACTORS, describe_curve, read_latencies, stream_curve
    from admlops.reports.streaming import render_streaming
    from admlops.results.runs import find_run

    check_out(out, as_json=as_json)
    layout = find_layout()
    if out is not None:
        require_out(out)
    folder = find_run(layout, run)
    chosen = [_factor(text) for text in factors] or list(FACTORS)
    measured = None if latencies is None else read_latencies(latencies)
    options = StreamOptions(
        clock=clock,  # type: ignore[arg-type]  # click gives one of CLOCKS, and so below
        draw=draw,  # type: ignore[arg-type]
        schedule=schedule,  # type: ignore[arg-type]
        seed=seed,
        latencies_us=measured,
        device=None if latencies is None else latencies.stem,
    )
    curve = describe_curve(folder, options, stream_curve(layout, folder, options, chosen))
    if out is not None:
        with open_out(out) as path:
            write_atomically(path, render_streaming(curve).encode())
    if as_json:
        click.echo(json.dumps(curve, indent=2))
    elif out != STANDARD_OUTPUT:
        _print(curve["rows"])
    if out is not None and out != STANDARD_OUTPUT:
        note(f"written to {out}")


def _factor(text: str) -> Fraction:
    from fractions import Fraction

    from admlops.core.errors import UsageError

    try:
        value = Fraction(text)
    except (ValueError, ZeroDivisionError):
        value = Fraction(-1)
    if not 0 <= value <= 1000:
        raise UsageError(f"--factor {text} is no number from 0 to 1000", hint="pass --factor 0.5, for example")
    return value


def _print(rows: list[dict[str, Any]]) -> None:
    from admlops.cli.tables import print_table

    heads = ("factor", "latency", "mAP-S", "NDS-S", "in time", "behind", "missed", "protocol")
    print_table(heads, [_cells(row) for row in rows], narrow=True)


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    latency, behind, share = row["mean_latency_ms"], row["mismatch"], row["in_time"]
    return (
        f"{row['factor']:g}",
        "-" if latency is None else f"{latency:.1f} ms",
        f"{row['metrics']['mAP-S']:.4f}",
        f"{row['metrics']['NDS-S']:.4f}" if "NDS-S" in row["metrics"] else "-",
        "-" if share is None else f"{100 * share:.0f} %",
        "-" if behind is None else f"{behind:.2f}",
        f"{row['missed']} of {row['moments']}",
        row["protocol"],
    )
