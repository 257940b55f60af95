"""`admlops data import-labels` and `history`: corrected labels as a new version, and the versions that there were."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_versions
from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.count_bar import show_count
from admlops.cli.data_convert import pictures_option
from admlops.cli.out_paths import OUT_FOLDER, require_new_folder
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.mining.labels import Imported
    from admlops.mining.tools.base import AnnotationTool, Labels

SHOWN = 20
DIGITS = 12


@click.command("import-labels", short_help="Make a new version of a data set with corrected labels.")
@click.argument("file", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--data", required=True, type=click.Path(path_type=Path), help="The data set that the labels are of.")
@click.option("--out", required=True, type=OUT_FOLDER, help="The new version's folder; it must not be there yet.")
@click.option(
    "--version",
    shell_complete=complete_versions,
    help="The tables' folder, or the file with labels. [default: the only one]",
)
@pictures_option
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Files read at a time. [default: CPUs]")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with every change by sample.")
def import_labels(
    file: Path,
    data: Path,
    out: Path,
    version: str | None,
    pictures: Any,
    workers: int | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write a new version of --data to --out with the labels in FILE, and say what changed.

    FILE is CVAT's XML for images or its zip, Label Studio's JSON, OpenLABEL (a file or a folder), or a CSV of class
    labels (sample,camera,calibration_status). Samples and pictures that it names get its labels; the others stay as
    they are. Tokens stay the same, so that runs over both versions can be compared.

    The new version has a manifest, and knows the version before it: `admlops data history`.

    \b
    Example:
      admlops data import-labels corrected --data scenes --out scenes-2
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned
    from admlops.datasets.base import open_data
    from admlops.mining.class_labels import import_class_labels
    from admlops.mining.labels import import_labels as import_all
    from admlops.mining.labels import read_labels
    from admlops.mining.predictions import open_frames

    require_new_folder(out)
    tool, labels = read_labels(file)
    opened = open_data(data, version)
    if dry_run:
        show_plan([Planned(action="write", target=str(out), detail=_describe(tool, labels))], as_json=as_json)
        return
    with show_count("read", hidden=as_json) as watch:
        placed = {"file": file.absolute(), "mode": pictures, "workers": workers or os.cpu_count() or 1, "watch": watch}
        if labels.classes:
            done = import_class_labels(opened, labels.classes, out, **placed)
        else:
            done = import_all(open_frames(opened, sweeps=True), labels, out, **placed)
    if as_json:
        click.echo(json.dumps(done.to_json(), indent=2))
    else:
        _print(done)


def _describe(tool: AnnotationTool, labels: Labels) -> str:
    held = sum(map(len, labels.classes.values())) or len(labels.samples) or len(labels.pictures)
    return f"{tool.title}, labels of {count_of(held, 'picture' if labels.pictures else 'sample')}"


def _spell(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items() if count) or "no change"


def _print(done: Imported) -> None:
    from admlops.cli.tables import print_table

    click.echo(f"{done.out}: {_spell(done.counts)}")
    by_sample: dict[str, dict[str, int]] = {}
    for one in done.changes:
        own = by_sample.setdefault(one.sample, {})
        own[one.what] = own.get(one.what, 0) + 1
    rows = [(sample, _spell(counts)) for sample, counts in by_sample.items()]
    if rows:
        print_table(("sample", "changes"), rows[:SHOWN])
    if len(rows) > SHOWN:
        note(f"and {len(rows) - SHOWN} more samples, which --json has")
    for loss in () if done.conversion is None else done.conversion.losses:
        note(f"not held: {loss.count} {loss.what}: {loss.why}")
    note(f"digest {done.digest}, made of {done.parent[:DIGITS]}")


@click.command(short_help="List the versions of a data set.")
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@click.option("--changes", is_flag=True, help="Show what changed in the version in ROOT, sample by sample.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def history(root: Path, changes: bool, as_json: bool) -> None:
    """List the versions of the data set in ROOT, the newest first, each with the one that it was made of.

    \b
    Example:
      admlops data history scenes-2
    """
    import msgspec

    from admlops.cli.tables import print_table
    from admlops.core.errors import UsageError
    from admlops.core.paths import user_path
    from admlops.mining.versions import read_changes, read_history

    folder = user_path(root)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="admlops data list")
    versions = read_history(folder)
    told = read_changes(folder) if changes else []
    if as_json:
        rows = [msgspec.to_builtins(one) for one in versions]
        click.echo(json.dumps({"versions": rows, **({"changes": told} if changes else {})}, indent=2))
        return
    print_table(
        ("version", "made", "of", "changes", "labels", "folder"),
        [
            (
                one.digest[:DIGITS] or "no manifest",
                one.created or "",
                one.parent[:DIGITS],
                _spell(one.counts) if one.parent else "",
                Path(one.labels).name,
                one.root,
            )
            for one in versions
        ],
    )
    for one in told:
        before = f" (was {one['before']})" if "before" in one else ""
        by = f" by {one['by']:.3g}" if "by" in one else ""
        note(f"{one['sample']} {one.get('place', '')} {one['what']} {one['class_name']}{before}{by}")
