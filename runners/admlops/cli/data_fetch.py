"""`admlops data fetch`, `verify` and `link`: published data sets brought here, and checked against manifests."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

from admlops.cli.conventions import dry_run_option, note, say, shows_progress, with_format
from admlops.cli.count_bar import show_count
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.core.types import Planned
    from admlops.publications.fetch import FetchWatch, Outcome
    from admlops.publications.plan import Step
    from admlops.publications.publication import Publication

FEW = 5
"""Files that a message names."""


def _complete_names(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from admlops.publications.publication import list_publications

    return [CompletionItem(name) for name in list_publications() if name.startswith(incomplete)]


@click.command(short_help="Fetch a published data set.")
@click.argument("name", metavar="[NAME]", required=False, shell_complete=_complete_names)
@click.option("--part", "parts", multiple=True, metavar="PART", help="A part of it; may be repeated.")
@click.option("--to", "target", metavar="DIR", help="Its folder. [default: data/ in the repository folder]")
@click.option("--from", "given", metavar="DIR", help="Take archives from here that you downloaded; fetch the others.")
@click.option("--accept-terms", is_flag=True, help="Accept the publisher's terms of use, which are shown first.")
@click.option("--keep-archives", is_flag=True, help="Leave the downloaded archives in DIR/.admlops/incoming.")
@click.option("--replace", is_flag=True, help="Write over files of other content that are in DIR.")
@click.option("--any-md5", is_flag=True, help="Take an archive although its md5 is none of those known.")
@click.option("--logs", type=click.IntRange(min=1), help="Of single objects, only the first N logs.", metavar="N")
@click.option(
    "--workers", type=click.IntRange(1, 64), default=2, show_default=True, help="Archives unpacked at a time."
)
@dry_run_option
@with_format
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def fetch(
    name: str | None,
    parts: tuple[str, ...],
    target: str | None,
    given: str | None,
    workers: int,
    logs: int | None,
    **flags: bool,
) -> None:
    """Fetch PARTs of the data set NAME from its publisher, check and unpack them; without NAME, list what there is.

    Says sizes and free disk space first. The same command goes on with a stopped fetch. Archives are removed once they
    are unpacked, and every file is noted with its sha256, which `admlops data verify` checks again.

    \b
    Example:
      admlops data fetch nuscenes --part mini --accept-terms
      admlops data fetch nuscenes --part meta --part keyframes --to nuscenes
      admlops data fetch openlanev2 --part a-info --from ~/Downloads --accept-terms
    """
    from admlops.core.paths import find_layout, user_path
    from admlops.publications.fetch import FetchOptions
    from admlops.publications.publication import load_publication

    if name is None:
        _require_no_options({"--part": parts, "--to": target, "--from": given})
        _list_publications(as_json=flags["as_json"])
        return
    publication = load_publication(name)
    chosen = publication.choose(parts)
    root = user_path(target) if target else find_layout().data / publication.folder
    steps = _plan(publication, chosen, root, given, ask_sizes=not flags["dry_run"])
    if flags["dry_run"]:
        _show_plan(publication, steps, root, as_json=flags["as_json"])
        return
    options = FetchOptions(
        accept_terms=flags["accept_terms"],
        keep_archives=flags["keep_archives"],
        replace=flags["replace"],
        any_md5=flags["any_md5"],
        unpacking=workers,
        logs=logs,
    )
    _fetch(publication, steps, root, options, as_json=flags["as_json"])


def _require_no_options(given: dict[str, Any]) -> None:
    from admlops.core.errors import UsageError

    named = next((f"{option} {value}" for option, value in given.items() if value), None)
    if named is not None:
        raise UsageError(f"{named} is of a data set, and none is named", hint="admlops data fetch   # lists them")


def _plan(
    publication: Publication, chosen: dict[str, Any], root: Path, given: str | None, *, ask_sizes: bool
) -> list[Step]:
    from admlops.core.paths import user_path
    from admlops.publications.plan import plan_fetch

    folder = None if given is None else user_path(given)
    return plan_fetch(publication, chosen, root, given=folder, ask_sizes=ask_sizes)


def _fetch(publication: Publication, steps: list[Step], root: Path, options: Any, *, as_json: bool) -> None:
    from admlops.publications.fetch import fetch as fetch_parts
    from admlops.publications.plan import check_room

    needed, free = check_room(steps, root, unpacking=options.unpacking, keep_archives=options.keep_archives)
    waiting = [step for step in steps if not step.is_done]
    if waiting:
        size = sum(step.size_bytes for step in waiting if step.local is None)
        unknown = " and objects whose size the store gives as they come" if any(s.objects for s in waiting) else ""
        say(
            f"{publication.title}: {size / 1e9:.2f} GB to fetch{unknown}, about {needed / 1e9:.2f} GB of disk, "
            f"{free / 1e9:.1f} GB free; terms: {publication.terms.name}, {publication.terms.page}"
        )
    with _bars() as watch:
        outcome = fetch_parts(publication, steps, root, options, say=say, watch=watch)
    _tell_outcome(outcome, root, as_json=as_json)


def _tell_outcome(outcome: Outcome, root: Path, *, as_json: bool) -> None:
    import msgspec

    from admlops.core.errors import DownloadError

    if as_json:
        failed = {name: error.message for name, error in outcome.failed.items()}
        fetched = [msgspec.to_builtins(one) for one in outcome.fetched]
        shown = {"data": str(root), "fetched": fetched, "present": outcome.present, "failed": failed}
        click.echo(json.dumps(shown, indent=2))
    else:
        for one in outcome.fetched:
            click.echo(f"{one.name}: {count_of(one.files, 'file')} from {one.size / 1e6:.1f} MB")
        if outcome.present:
            click.echo(f"there already: {', '.join(outcome.present)}")
        if not outcome.failed:
            click.echo(f"{root}   # admlops data check {root}")
    if len(outcome.failed) == 1:
        raise next(iter(outcome.failed.values()))
    if outcome.failed:
        lines = [f"{name}: {error.message}" for name, error in outcome.failed.items()]
        raise DownloadError("\n".join(lines), hint="mend what is named, then run the command again: the rest is there")


def _list_publications(*, as_json: bool) -> None:
    from admlops.cli.tables import print_table
    from admlops.publications.publication import list_publications, load_publication

    found = [load_publication(name) for name in list_publications()]
    if as_json:
        shown = [
            {
                "name": one.id,
                "title": one.title,
                "terms": one.terms.name,
                "by_hand": not one.base and all(part.objects is None for part in one.parts.values()),
                "parts": {name: {"text": part.text, "gb": part.about_bytes / 1e9} for name, part in one.parts.items()},
            }
            for one in found
        ]
        click.echo(json.dumps(shown, indent=2))
        return
    rows = [
        (one.id, name, f"{part.about_bytes / 1e9:.3g}" if part.archives else "", part.text)
        for one in found
        for name, part in one.parts.items()
    ]
    print_table(("data set", "part", "GB", "what it holds"), rows)
    by_hand = ", ".join(one.id for one in found if one.by_hand)
    note(f"archives of {by_hand} are downloaded by hand, and taken with --from DIR")


def _show_plan(publication: Publication, steps: Sequence[Step], root: Path, *, as_json: bool) -> None:
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned

    def describe(step: Step) -> Planned:
        if step.local is not None:
            return Planned(
                action="unpack", target=str(step.local), detail=f"{step.size_bytes / 1e9:.2f} GB into {root}"
            )
        size = f"about {step.size_bytes / 1e9:.2f} GB" if step.archive else "one object after the other"
        return Planned(action="fetch and unpack", target=step.url, detail=f"{size} into {root}")

    show_plan([describe(step) for step in steps if not step.is_done], as_json=as_json)


@contextmanager
def _bars() -> Iterator[FetchWatch]:
    """Show a bar for every archive on a terminal; elsewhere the lines that `say` gets are enough."""
    from admlops.cli.byte_progress import byte_bars

    if not shows_progress() or not os.isatty(2):
        yield lambda phase, name, done, total: None
        return
    with byte_bars() as bars:
        tasks: dict[tuple[str, str], Any] = {}

        def show(phase: str, name: str, done: int, total: int | None) -> None:
            if (phase, name) not in tasks:
                tasks[phase, name] = bars.add_task(f"{phase} {name}", total=total)
            bars.update(tasks[phase, name], completed=done, total=total)

        yield show


@click.command(short_help="Read every file of a data set again.")
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@click.option("--write", is_flag=True, help="Write the manifest of what is there now, instead of comparing with it.")
@click.option("--quick", is_flag=True, help="Compare sizes alone.")
@click.option("--workers", type=click.IntRange(1, 64), default=None, help="Files read at a time. [default: CPUs]")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def verify(root: Path, write: bool, quick: bool, workers: int | None, dry_run: bool, as_json: bool) -> None:
    """Compare every file in ROOT with its manifest: path, size and sha256, as `admlops data fetch` noted them.

    For data of your own, --write makes the manifest; a data set without one cannot be verified.

    \b
    Example:
      admlops data verify /workspace/nuscenes
      admlops data verify my_pictures --write
    """
    from admlops.core.errors import DifferencesError, UsageError
    from admlops.core.paths import user_path
    from admlops.publications.manifest import verify as verify_files

    folder = user_path(root)
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint="admlops data list")
    count = workers or os.cpu_count() or 1
    if write:
        _write_own(folder, count, dry_run=dry_run, as_json=as_json)
        return
    with show_count("verify", hidden=as_json) as watch:
        verdict = verify_files(folder, quick=quick, workers=count, watch=watch)
    if as_json:
        click.echo(json.dumps({"data": str(folder), "whole": verdict.is_whole, **asdict(verdict)}, indent=2))
    else:
        how = "sizes" if quick else "sha256"
        click.echo(f"{folder}: {count_of(verdict.files, 'file')}, {verdict.size_bytes / 1e9:.2f} GB by {how}")
        for what in ("missing", "changed", "unreadable", "extra"):
            names = getattr(verdict, what)
            if names:
                more = f" and {len(names) - FEW} more" if len(names) > FEW else ""
                click.echo(f"{len(names)} {what}: {', '.join(names[:FEW])}{more}")
        click.echo(f"digest {verdict.digest}")
    if not verdict.is_whole:
        first = (verdict.missing + verdict.changed + verdict.unreadable)[0]
        raise DifferencesError(
            f"{folder} is not what its manifest says: {len(verdict.missing)} missing, {len(verdict.changed)} changed, "
            f"{len(verdict.unreadable)} unreadable, first {first}",
            hint="fetch the archive that holds it again, or, if you meant the change: admlops data verify ROOT --write",
        )


def _write_own(folder: Path, workers: int, *, dry_run: bool, as_json: bool) -> None:
    from admlops.cli.dry_run import show_plan
    from admlops.core.types import Planned
    from admlops.publications.manifest import describe_files, digest_of, manifest_folder, rewrite_manifest

    if dry_run:
        show_plan([Planned(action="write", target=str(manifest_folder(folder)))], as_json=as_json)
        return
    with show_count("read", hidden=as_json) as watch:
        entries = describe_files(folder, workers=workers, watch=watch)
    path = rewrite_manifest(folder, entries)
    size = sum(one.size for one in entries)
    facts = {"manifest": str(path), "files": len(entries), "size_bytes": size, "digest": digest_of(entries)}
    if as_json:
        click.echo(json.dumps(facts, indent=2))
    else:
        click.echo(f"{path}: {count_of(len(entries), 'file')}, {size / 1e9:.2f} GB, digest {facts['digest']}")


@click.command(short_help="Take in a data set that lies elsewhere.")
@click.argument("root", metavar="ROOT", type=click.Path(path_type=Path))
@click.option("--name", help="What it is called in data/. [default: the folder's own name]")
@click.option("--remove", is_flag=True, help="Take the link called ROOT out of data/ again; the data stay.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def link(root: Path, name: str | None, remove: bool, dry_run: bool, as_json: bool) -> None:
    """Link the data set in ROOT into the repository's data/, where every command finds it; nothing is copied.

    ROOT must be a data set that is known; `admlops data list` then shows it.

    \b
    Example:
      admlops data link /mnt/lab/nuscenes
      admlops data link nuscenes --remove
    """
    from admlops.core.paths import find_layout
    from admlops.pipeline.data_links import make_link, plan_link, remove_link

    layout = find_layout()
    step: Planned | None
    if remove:
        step = remove_link(layout, str(root), dry_run=dry_run)
    else:
        step = plan_link(layout, root, name)
        if step is not None and not dry_run:
            make_link(step)
    _tell_link(step, dry_run=dry_run, as_json=as_json)


def _tell_link(step: Planned | None, *, dry_run: bool, as_json: bool) -> None:
    from admlops.cli.dry_run import show_plan

    if dry_run:
        show_plan([] if step is None else [step], as_json=as_json)
    elif as_json:
        click.echo(json.dumps(None if step is None else asdict(step), indent=2))
    elif step is None:
        click.echo("it is linked there already; nothing was done")
    else:
        click.echo(f"{step.target} → {step.detail}" if step.detail else f"{step.target}: removed")
