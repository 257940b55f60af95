"""`admlops data`: data sets to run models over."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_versions
from admlops.cli.conventions import dry_run_option, note, say, shows_progress, with_format
from admlops.cli.count_bar import show_count
from admlops.cli.data_convert import convert
from admlops.cli.data_fetch import fetch, link, verify
from admlops.cli.data_labels import history, import_labels
from admlops.cli.data_mine import mine
from admlops.cli.data_opening import open_root, opening_options
from admlops.cli.data_stats import stats
from admlops.cli.data_tag import tag
from admlops.cli.out_paths import OutPath
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.datasets.base import Problem
    from admlops.synthetic.images_writer import ImageOptions
    from admlops.synthetic.openlane_writer import OpenLaneOptions
    from admlops.synthetic.options import SynthesisOptions


@click.group()
def data() -> None:
    """Data sets, such as nuScenes, OpenLane-V2 or pictures: fetch, list, synthesize, check, measure, tag, index.

    \b
    Example:
      admlops data synthesize scenes --scenes 2 --samples 20
    """


for _command in (fetch, link, verify, stats, tag, convert, mine, import_labels, history):
    data.add_command(_command)


@data.command("list", epilog="Example: admlops data list", short_help="List the data sets that are here.")
@click.option("--all-files", is_flag=True, help="Add up the sizes of all files, however many there are.")
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_(all_files: bool, as_json: bool) -> None:
    """List the data sets in the repository's data/, and those that runs were made on: kind, version, splits, size.

    After each split stands how many of its scenes are here. A size with ≥ is of the first 50,000 files.
    """
    from dataclasses import asdict

    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout
    from admlops.pipeline.data_roots import list_data

    layout = find_layout()
    found = list_data(layout, count_all=all_files)
    if as_json:
        click.echo(json.dumps([{**asdict(one), "root": str(one.root)} for one in found], indent=2))
        return
    rows = [
        (
            str(one.root),
            f"{one.kind or 'unknown'}{' synthetic' if one.synthetic else ''}",
            one.version or "",
            ", ".join(f"{name} {count}" for name, count in one.splits.items()),
            f"{'' if one.size_is_whole else '≥ '}{one.size_bytes / 1e9:.2f}",
            str(one.runs),
            one.problem or "readable",
        )
        for one in found
    ]
    if rows:
        print_table(("folder", "kind", "version", "splits", "GB", "runs", "state"), rows)
    else:
        note(f"{layout.data} holds no data set; make one with: admlops data synthesize {layout.data / 'synthetic'}")


@data.command(short_help="Write a synthetic data set.")
@click.argument("target", metavar="DIR", type=OutPath())
@click.option(
    "--scenes", default=2, show_default=True, help="Scenes, at most 10: mini_val's two first, then mini_train's."
)
@click.option(
    "--format",
    "layout",
    type=click.Choice(["nuscenes", "openlane-v2", "images"]),
    default="nuscenes",
    show_default=True,
    help="The layout: nuScenes v1.0-mini; OpenLane-V2's subset A (lanes, traffic elements, seven cameras); or single "
    "pictures with COCO's JSON.",
)
@click.option(
    "--samples",
    default=None,
    type=int,
    help="Key frames of each scene, two a second; at most 60. [default: 20; of pictures 2]",
)
@click.option("--seed", default=0, show_default=True, help="The same seed and options give the same bytes.")
@click.option(
    "--scale",
    default=None,
    type=float,
    help="Image size as a factor of 1600x900, or 2048x1550. [default: 1; of pictures 0.5]",
)
@click.option("--lidar-sweeps", default=3, show_default=True, help="LiDAR sweeps between two key frames; at most 9.")
@click.option(
    "--camera-sweeps", default=1, show_default=True, help="Pictures a camera between two key frames; at most 5."
)
@click.option("--workers", default=None, type=click.IntRange(min=1), help="Processes; as many as there are CPUs.")
@click.option("--force", is_flag=True, help="Replace another synthetic data set in DIR.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def synthesize(
    target: Path,
    scenes: int,
    layout: str,
    samples: int | None,
    seed: int,
    scale: float | None,
    lidar_sweeps: int,
    camera_sweeps: int,
    workers: int | None,
    force: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Write generated scenes to DIR as a nuScenes v1.0-mini data set: images, LiDAR, boxes, maps, CAN bus.

    With --format openlane-v2, write the same worlds in OpenLane-V2's layout, which has no sweeps. With --format images,
    write single pictures of them, each with the boxes that are seen in it.

    \b
    Example:
      admlops data synthesize scenes --scenes 2 --samples 20 --scale 0.5
      admlops data synthesize lanes --format openlane-v2 --samples 4 --scale 0.5
      admlops data synthesize cars --format images --seed 1
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned

    is_images = layout == "images"
    samples = samples if samples is not None else 2 if is_images else 20
    common = {
        "scenes": scenes,
        "samples": samples,
        "seed": seed,
        "scale": scale if scale is not None else 0.5 if is_images else 1.0,
    }
    options, write = _choose_writer(target, layout, common, lidar_sweeps=lidar_sweeps, camera_sweeps=camera_sweeps)
    options.check()
    size = f"{count_of(scenes, 'scene')} of {count_of(samples, 'key frame')}"
    if dry_run:
        changes = write(force=force, dry_run=True)
        show_plan([Planned(action="write", target=str(target), detail=size)] if changes else [], as_json=as_json)
        return
    with click.progressbar(
        length=scenes * samples, label="synthesize", file=sys.stderr, hidden=as_json or not shows_progress()
    ) as bar:

        def show(done: int, _: int) -> None:
            bar.update(done - bar.pos)

        written = write(on_progress=show, force=force, workers=workers)
    if as_json:
        facts = {"data": str(target.absolute()), "written": written, "options": options.as_dict()}
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(
            f"{target}: {size}" if written else f"{target} already holds exactly this data set; nothing was done"
        )


def _choose_writer(
    target: Path, layout: str, common: dict[str, Any], *, lidar_sweeps: int, camera_sweeps: int
) -> tuple[OpenLaneOptions | SynthesisOptions | ImageOptions, Callable[..., bool]]:
    """Return a layout's options, and what writes a data set of them to `target`."""
    from admlops.synthetic.images_writer import ImageOptions, synthesize_images
    from admlops.synthetic.openlane_writer import OpenLaneOptions, synthesize_openlane
    from admlops.synthetic.options import SynthesisOptions
    from admlops.synthetic.writer import synthesize as synthesize_nuscenes

    if layout == "images":
        pictures = ImageOptions(**common)
        return pictures, partial(synthesize_images, target, pictures)
    if layout == "openlane-v2":
        lanes = OpenLaneOptions(**common)
        return lanes, partial(synthesize_openlane, target, lanes)
    scenes = SynthesisOptions(**common, lidar_sweeps=lidar_sweeps, camera_sweeps=camera_sweeps)
    return scenes, partial(synthesize_nuscenes, target, scenes)


@data.command(short_help="Check that a data set is whole.")
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@opening_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def check(root: Path, version: str | None, kind: str | None, as_json: bool) -> None:
    """Say whether the data set in ROOT is whole: its tables or frames, and every key frame's files.

    For nuScenes, also name annotations that are no numbers, incomplete LiDAR files, missing LiDAR sweeps between key
    frames, and missing maps.

    For pictures, decode every file and read every label, and name what is missing, broken, there twice, turned by EXIF,
    not of 8 bits and RGB, or has boxes that are empty or outside.

    \b
    Example:
      admlops data check /workspace/nuscenes --version v1.0-mini
      admlops data check pictures/
    """
    from dataclasses import asdict

    from admlops.core.errors import DifferencesError
    from admlops.datasets.base import HasProblems

    opened = open_root(root, version, kind)
    scenes = opened.scenes()
    samples = [token for scene in scenes for token in scene.samples]
    missing = [path for token in samples for path in opened.missing_files(token)]
    counts = opened.count_annotations(samples)
    problems: list[Problem] = []
    if isinstance(opened, HasProblems):
        with show_count("check", hidden=as_json) as watch:
            problems = list(opened.problems(watch))
    facts = {"data": str(opened.root), "scenes": len(scenes), "samples": len(samples), **counts}
    if as_json:
        found = {"missing": [str(path) for path in missing], "problems": [asdict(one) for one in problems]}
        click.echo(json.dumps({**facts, "synthetic": opened.is_synthetic, **found}, indent=2))
    else:
        counted = "".join(f", {number} {name.replace('_', ' ')}" for name, number in counts.items())
        broken = f", {count_of(len(missing), 'file')} missing or empty" if missing else ""
        held = f"{count_of(len(scenes), 'scene')}, {count_of(len(samples), 'sample')}"
        click.echo(f"{opened.root / opened.version}: {held}{counted}{broken}")
        _print_problems(problems)
    errors = [one for one in problems if one.is_error]
    if missing and not errors:
        raise DifferencesError(
            f"{count_of(len(missing), 'file')} of key frames missing or empty, first {missing[0]}",
            hint="unpack the archives that hold the pictures again, then repeat the check",
        )
    if errors:
        raise DifferencesError(
            f"{count_of(len(errors), 'problem')}, first {errors[0].name}: {errors[0].kind}: {errors[0].what}",
            hint="mend or remove what is named, then repeat the check; a run gives such pictures a failed sample",
        )


def _print_problems(problems: Sequence[Problem]) -> None:
    from admlops.cli.tables import print_table

    if problems:
        rows = [("error" if one.is_error else "to know", one.kind, one.name, one.what) for one in problems]
        print_table(("", "kind", "file", "what"), rows)


@data.command(
    epilog="Example: admlops data index /workspace/nuscenes --version v1.0-trainval",
    short_help="Index a data set: samples open in milliseconds.",
)
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@click.option(
    "--version",
    shell_complete=complete_versions,
    help="The folder of tables below ROOT. [default: the only one, or v1.0-mini]",
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def index(root: Path, version: str | None, dry_run: bool, as_json: bool) -> None:
    """Read the tables once and write an index for adapters beside them: any sample then opens in milliseconds.

    The index knows the tables it was made from; when one changes, the index is refused until it is made anew.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import user_path
    from admlops.core.types import Planned
    from admlops.datasets.base import open_data
    from admlops.datasets.nuscenes.sample_index import build_index
    from admlops.datasets.nuscenes.versions import choose_version
    from admlops.worker.samples.sample_index import index_path

    folder = user_path(root).resolve()
    chosen = version or choose_version(folder)
    if dry_run:
        open_data(folder, chosen)
        path = Path(index_path(str(folder), chosen))
        verb = "replace" if path.exists() else "write"
        show_plan([Planned(action=verb, target=str(path))], as_json=as_json)
        return
    built = build_index(folder, chosen, say=say)
    if as_json:
        shown = {"path": str(built.path), "samples": built.samples, "scenes": built.scenes}
        click.echo(json.dumps({**shown, "size_bytes": built.size_bytes}, indent=2))
        return
    held = f"{count_of(built.samples, 'sample')} of {count_of(built.scenes, 'scene')}"
    click.echo(f"{held} in {built.size_bytes / 1e6:.1f} MB: {built.path}")
