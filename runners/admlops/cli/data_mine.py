"""`admlops data mine`: the samples of a run that are worth a look, for annotators too."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_runs
from admlops.cli.conventions import dry_run_option, note, with_format
from admlops.cli.lazy import LazyChoice
from admlops.cli.out_paths import OUT_FOLDER, require_new_folder
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.datasets.base import Dataset
    from admlops.mining.found import FoundRun
    from admlops.mining.mine import Mined
    from admlops.results.run_folder import RunFolder

SHOWN = 20
"""Samples that the terminal shows; --out and --json have all."""


def _rules() -> tuple[str, ...]:
    from admlops.catalog.registries import MINING_RULES

    return MINING_RULES.ids()


def _tools() -> tuple[str, ...]:
    from admlops.catalog.registries import ANNOTATION_TOOLS

    return ANNOTATION_TOOLS.ids()


@click.command(short_help="Choose the samples of a run that are worth a look.")
@click.argument("runs", metavar="RUN [RUN2]", nargs=-1, required=True, shell_complete=complete_runs)
@click.option("--by", required=True, type=LazyChoice(_rules), help="What makes a sample worth a look.")
@click.option("--top", type=click.IntRange(min=1), default=100, show_default=True, help="Choose so many at most.")
@click.option(
    "--confidence",
    type=click.FloatRange(0, 1),
    help="From here on a box is meant. [default: the class's operating point in metrics.json, else 0.3]",
)
@click.option("--data", type=click.Path(path_type=Path), help="The data set's root. [default: the run's]")
@click.option("--out", type=OUT_FOLDER, help="Write samples.txt, mined.json and what --to asks for to this folder.")
@click.option("--to", "tool", type=LazyChoice(_tools), help="Write the samples for an annotation tool to --out.")
@click.option(
    "--prelabels",
    type=click.Choice(["predictions", "truth"]),
    default="predictions",
    show_default=True,
    help="What annotators begin with: what RUN says, or the data set.",
)
@click.option(
    "--pictures",
    type=click.Choice(["hardlink", "copy", "symlink"]),
    default="hardlink",
    show_default=True,
    help="How files come into --out.",
)
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON, with all reasons.")
def mine(
    runs: tuple[str, ...],
    by: str,
    top: int,
    confidence: float | None,
    data: Path | None,
    out: Path | None,
    tool: str | None,
    prelabels: str,
    pictures: Any,
    dry_run: bool,
    as_json: bool,
) -> None:
    """List the samples of RUN that are worth a look, the most first, and why.

    worst: most errors. disagreement: what RUN sees and RUN2 does not, or the other way round. flicker: what is missing
    in one sample of a sequence. uncertainty: confidences near a half. rare: classes that are seldom in their light,
    weather and town.

    `admlops run MODEL --tokens DIR/samples.txt` runs on them, `admlops data convert --tokens` makes a data set of them.

    \b
    Example:
      admlops data mine GroundPlane-20260101-120000-0a1b2c --by worst --top 20
      admlops data mine RUN RUN2 --by disagreement --out look --to openlabel
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError
    from admlops.core.types import Planned
    from admlops.mining.found import read_found
    from admlops.mining.mine import find_rule, write_mined
    from admlops.mining.mine import mine as mine_runs

    if tool is not None and out is None:
        raise UsageError("--to wants a folder to write to", hint=f"add --out DIR to: admlops data mine --to {tool}")
    rule = find_rule(by, len(runs))
    if out is not None:
        require_new_folder(out)
    folders = [_find(run) for run in runs]
    opened = _open(folders[0], data)
    found = [read_found(folder, confidence=confidence) for folder in folders]
    mined = mine_runs(rule, found, opened, top=top)
    if dry_run:
        detail = f"{count_of(len(mined.samples), 'sample')} by {by}"
        show_plan([] if out is None else [Planned(action="write", target=str(out), detail=detail)], as_json=as_json)
        return
    if out is not None:
        if tool is not None:
            _write_tool(mined, found[0], opened, out, tool, prelabels, pictures)
        write_mined(mined, out)
    _print(mined, out, as_json=as_json)


def _find(name: str) -> RunFolder:
    from admlops.core.paths import find_layout
    from admlops.results.runs import find_run

    return find_run(find_layout(), name)


def _open(run: RunFolder, data: Path | None) -> Dataset:
    from admlops.results.data_set import open_run_data

    return open_run_data(run.header.data, data)


def _write_tool(
    mined: Mined, run: FoundRun, data: Dataset, out: Path, tool: str, prelabels: str, pictures: Any
) -> None:
    """Write the chosen samples in a tool's form, to a folder beside that becomes `out` once it is whole."""
    import shutil
    import tempfile

    from admlops.catalog.registries import ANNOTATION_TOOLS
    from admlops.core.storage import explain_os_error
    from admlops.mining.predictions import choose_frames, keep_class_labels, open_frames, predict
    from admlops.mining.tools.base import make_target

    tokens = [one.token for one in mined.samples]
    scenes = choose_frames(open_frames(data), tokens, [one.scene for one in mined.samples])
    labelled = predict(scenes, run) if prelabels == "predictions" else keep_class_labels(scenes, data.root)
    target = out.absolute()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise explain_os_error(error, target) from error
    try:
        staging.chmod(0o755)
        ANNOTATION_TOOLS.get(tool).write(make_target(staging, mode=pictures), labelled)
        os.rename(staging, target)  # noqa: PTH104  an empty folder that is there gives way
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _print(mined: Mined, out: Path | None, *, as_json: bool) -> None:
    from admlops.cli.tables import print_table

    if as_json:
        click.echo(json.dumps({**mined.to_json(), "out": None if out is None else str(out)}, indent=2))
        return
    note(f"{count_of(mined.found, 'sample')} by {mined.by}, {len(mined.samples)} chosen")
    rows = [
        (one.token, one.scene, f"{one.score:.3f}", str(len(one.reasons)), one.reasons[0].what)
        for one in mined.samples[:SHOWN]
    ]
    if rows:
        print_table(("sample", "scene", "score", "reasons", "first reason"), rows)
    if len(mined.samples) > SHOWN:
        note(f"and {len(mined.samples) - SHOWN} more, which --json and --out have")
    if out is not None:
        note(f"written to {out}")
