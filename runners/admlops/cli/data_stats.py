"""`admlops data stats`: what a data set holds, in numbers, and how far it is from another."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.count_bar import show_count
from admlops.cli.data_opening import find_root, open_root, opening_options, rules_option
from admlops.cli.lazy import LazyChoice
from admlops.cli.out_paths import OUT_FILE, STANDARD_OUTPUT, check_out, open_out, require_out

if TYPE_CHECKING:
    from admlops.curation.differences import Difference
    from admlops.curation.overview import Measured
    from admlops.curation.tags import Rules


def _axes() -> tuple[str, ...]:
    from admlops.curation.statistics import AXES

    return AXES


@click.command(short_help="Count what a data set holds; compare two.")
@click.argument("root", metavar="[DATA]", required=False, type=click.Path(path_type=Path))
@opening_options
@click.option("--where", metavar="CONDITION", help="Only samples where this holds, such as: speed < 5.")
@rules_option
@click.option(
    "--by", "axes", multiple=True, type=LazyChoice(_axes), help="Count boxes and samples by this; may repeat."
)
@click.option("--against", metavar="OTHER", type=click.Path(path_type=Path), help="Measure how far it is from OTHER.")
@click.option("--against-where", metavar="CONDITION", help="Of OTHER only these samples. [default: as --where]")
@click.option(
    "--map-samples",
    type=click.IntRange(min=0),
    default=300,
    show_default=True,
    metavar="N",
    help="Cut map elements around N samples, evenly taken; 0: none.",
)
@click.option("--html", "page", type=OUT_FILE, metavar="FILE", help="Write a page with charts, too.")
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def stats(
    root: Path | None,
    version: str | None,
    kind: str | None,
    where: str | None,
    rules: Path | None,
    axes: tuple[str, ...],
    against: Path | None,
    against_where: str | None,
    map_samples: int,
    page: Path | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Count what DATA holds: boxes by class, distance, visibility, light and weather, and those without points; the
    vehicle's speed and yaw rate; samples of a standing vehicle; tracks; map elements; how near validation samples lie
    to training samples.

    Of pictures: their sizes, and objects by class and size (small, medium and large are COCO's: below 32², below 96²,
    and from there on, in square pixels).

    \b
    Example:
      admlops data stats /workspace/nuscenes --html stats.html
      admlops data stats scenes --by class --by distance
      admlops data stats scenes --against other --where "tag = 'night'"
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError
    from admlops.core.types import Planned
    from admlops.curation.overview import compare, measure_set
    from admlops.curation.tags import read_rules

    check_out(page, as_json=as_json)
    if page is not None:
        require_out(page)
    if against_where is not None and against is None:
        raise UsageError("--against-where chooses of OTHER, and there is no --against", hint="add --against OTHER")
    read, opened = read_rules(rules), open_root(find_root(root, kind), version, kind)
    conditions = [
        _read(text, option, read) for text, option in ((where, "--where"), (against_where, "--against-where"))
    ]
    other = None if against is None else open_root(against, None, kind)
    if dry_run:
        show_plan([] if page is None else [Planned(action="write", target=str(page))], as_json=as_json)
        return
    with show_count("stats", hidden=as_json) as watch:
        first = measure_set(opened, read, where=conditions[0], axes=axes, map_samples=map_samples, watch=watch)
    found: list[Difference] | None = None
    second: Measured | None = None
    if other is not None:
        with show_count("against", hidden=as_json) as watch:
            chosen = conditions[1] or conditions[0]
            second = measure_set(other, read, where=chosen, axes=axes, map_samples=map_samples, watch=watch)
        found = compare(first, second)
    if page is not None:
        _write_page(page, first, second, found or [])
    if as_json:
        click.echo(json.dumps(_to_json(first, second, found), indent=2))
    elif page != STANDARD_OUTPUT:
        _print(first, second, found, only_cells=bool(axes))
        if page is not None:
            note(f"written to {page}")


def _print(first: Measured, second: Measured | None, found: list[Difference] | None, *, only_cells: bool) -> None:
    """Print what was asked for: the cells of --by, or of one set everything, and how far two are apart."""
    from admlops.cli.data_stats_text import print_cells, print_differences, print_measured

    if only_cells:
        print_cells(first)
    elif second is None:
        print_measured(first)
    if second is not None and found is not None:
        print_differences(first, second, found)


def _read(text: str | None, option: str, rules: Rules) -> Any:
    from admlops.curation.expression import check_tags, read_condition

    if text is None:
        return None
    condition = read_condition(text, where=option)
    check_tags(condition, rules.by_name)
    return condition


def _write_page(target: Path, first: Measured, second: Measured | None, found: Sequence[Difference]) -> None:
    from admlops.core.storage import write_atomically
    from admlops.reports.data_page import render_data

    with open_out(target) as path:
        write_atomically(path, render_data(first, second, found).encode())


def _to_json(first: Measured, second: Measured | None, found: Sequence[Difference] | None) -> dict[str, Any]:
    from admlops.curation.differences import to_json

    shown = first.to_json()
    if second is not None and found is not None:
        shown["against"] = second.to_json()
        shown["differences"] = to_json(found)
    return shown
