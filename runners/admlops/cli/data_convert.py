"""`admlops data convert`: a data set in another form, with what that form cannot hold."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from admlops.cli.conventions import dry_run_option, note
from admlops.cli.count_bar import show_count
from admlops.cli.lazy import LazyChoice
from admlops.cli.out_paths import OUT_FOLDER, require_new_folder
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.conversion.convert import Chosen, Conversion
    from admlops.conversion.frames import Recording


def _targets() -> list[str]:
    from admlops.conversion.convert import list_targets

    return list_targets()


pictures_option = click.option(
    "--pictures",
    type=click.Choice(["hardlink", "copy", "symlink"]),
    default="hardlink",
    show_default=True,
    help="How files come into --out; where a hard link cannot be, they are copied.",
)


@click.command(short_help="Write a data set in another form.")
@click.option("--to", "target", required=True, type=LazyChoice(_targets), help="The form to write.")
@click.option(
    "--from",
    "--data",
    "data",
    required=True,
    type=click.Path(path_type=Path),
    help="A data set in any form that is known, or a TOML that says where your data lie.",
)
@click.option("--out", required=True, type=OUT_FOLDER, help="The folder to write; it must not be there yet.")
@click.option("--version", help="The tables' folder, or the file with labels. [default: the only one]")
@click.option("--scene", "scenes", multiple=True, help="Take this scene alone (may be repeated).")
@click.option("--tokens", type=click.Path(path_type=Path), help="Take these samples alone: a file of tokens, or -.")
@click.option(
    "--rule",
    type=click.Choice(["clip", "devkit"]),
    default="clip",
    show_default=True,
    help="How boxes in space become boxes in pictures: cut at 0.1 m before the camera, or as nuscenes-devkit does.",
)
@click.option(
    "--names",
    type=click.Choice(["category", "detection"]),
    help="Full categories, or the ten detection classes. [default: detection for kitti and mmdet3d-infos]",
)
@click.option("--camera", help="The camera of kitti, which has one. [default: CAM_FRONT]")
@pictures_option
@click.option("--tables", "tables", help="What nuscenes calls its folder of tables. [default: v1.0-own]")
@click.option(
    "--generation",
    type=click.Choice(["1.x", "0.x"]),
    help="Of mmdet3d-infos: metainfo and data_list, or the older infos and metadata. [default: 1.x]",
)
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def convert(
    target: str,
    data: Path,
    out: Path,
    version: str | None,
    scenes: tuple[str, ...],
    tokens: Path | None,
    rule: Any,
    names: Any,
    pictures: Any,
    dry_run: bool,
    as_json: bool,
    **special: str | None,
) -> None:
    """Write the data set of --from to --out in another form, and list what that form cannot hold.

    The list is printed, and kept in conversion.json beside the result. Pictures are not copied where a hard link is
    possible. docs/data-convert.md says what each form holds.

    \b
    Example:
      admlops data convert --to coco --from scenes --out scenes-coco
      admlops data convert --to kitti --from scenes --out scenes-kitti --rule devkit
      admlops data convert --to nuscenes --from my.toml --out mine
    """
    from admlops.cli.dry_run import show_plan
    from admlops.conversion.base import ReadOptions, WriteOptions
    from admlops.conversion.convert import check_target, find_format, open_recording
    from admlops.conversion.convert import convert as convert_data
    from admlops.core.types import Planned

    form = find_format(target)
    own = {name: value for name, value in special.items() if value is not None}
    form.require_options(own)
    require_new_folder(out)
    recording = open_recording(data, ReadOptions(version=version, sweeps=form.wants_sweeps))
    chosen = _choose(recording, scenes, tokens)
    wanted = check_target(recording, form, out, chosen)
    if dry_run:
        detail = f"{form.title}, {count_of(len(wanted), 'scene')} of {recording.root}"
        show_plan([Planned(action="write", target=str(out), detail=detail)], as_json=as_json)
        return
    with show_count("convert", hidden=as_json) as watch:
        done = convert_data(
            recording,
            form,
            out,
            options=WriteOptions(rule=rule, names=names, **cast("Any", own)),
            chosen=chosen,
            mode=pictures,
            watch=watch,
        )
    if as_json:
        click.echo(json.dumps(done.to_json(), indent=2))
    else:
        _print(done)


def _choose(recording: Recording, scenes: tuple[str, ...], tokens: Path | None) -> Chosen:
    from admlops.conversion.convert import Chosen
    from admlops.datasets.base import check_scene_names
    from admlops.pipeline.selection import read_tokens

    check_scene_names(scenes, recording.scene_names, recording.root)
    return Chosen(scenes=scenes or None, tokens=None if tokens is None else frozenset(read_tokens(tokens)))


def _print(done: Conversion) -> None:
    from admlops.cli.tables import print_table

    held = f"{count_of(done.scenes, 'scene')}, {count_of(done.frames, 'sample')}"
    files = ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in done.written.items())
    click.echo(f"{done.out}: {held}{f', {files}' if files else ''}")
    if done.losses:
        note("not held:")
        print_table(("what", "count", "why"), [(one.what, str(one.count), one.why) for one in done.losses])
    else:
        note("nothing was lost")
