"""`admlops sources`: the models' code, at exactly the pinned commits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_models
from admlops.cli.conventions import dry_run_option, say, with_format

if TYPE_CHECKING:
    from admlops.core.paths import Layout
    from admlops.core.types import Planned
    from admlops.sources.checkouts import PinnedSource

MODELS = click.argument("names", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: admlops sources fetch MapTR")
def sources() -> None:
    """The models' sources in submodules/: list, fetch and verify them."""


@sources.command(
    "list", epilog="Example: admlops sources list --json", short_help="List what models need and what is there."
)
@MODELS
@with_format
@JSON
def list_(names: tuple[str, ...], as_json: bool) -> None:
    """List the sources that MODEL... need, of all models without an argument, and what is checked out."""
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout

    layout = find_layout()
    rows = [_describe(layout, source) for source in _select(layout, names)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    columns = ("source", "commit", "repository", "models", "status")
    print_table(
        columns,
        [
            (row["source"], row["commit"][:12], row["repository"], ", ".join(row["models"]), _status(row["problems"]))
            for row in rows
        ],
    )


@sources.command(epilog="Example: admlops sources fetch MapTR VAD", short_help="Check out the pinned commits.")
@MODELS
@click.option("--force", is_flag=True, help="Drop changes to tracked files; untracked files stay.")
@dry_run_option
@JSON
def fetch(names: tuple[str, ...], force: bool, dry_run: bool, as_json: bool) -> None:
    """Check out the pinned commit, and only that, of every source that MODEL... need.

    Does nothing for those that are there. Goes on with the others when one fails.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import find_layout
    from admlops.sources.checkouts import UnreachableRepositoryError, fetch_source

    layout = find_layout()
    if dry_run:
        show_plan(_plan(layout, names, force=force), as_json=as_json)
        return
    done: list[dict[str, Any]] = []
    failed: list[AdmlopsError] = []
    for source in _select(layout, names):
        try:
            changed = fetch_source(layout, source, say=say, force=force)
        except AdmlopsError as error:
            failed.append(error)
            if isinstance(error, UnreachableRepositoryError):
                break
            click.echo(f"{source.folder}: {error.message}", err=True)
            continue
        done.append({"source": source.folder, "commit": source.commit, "fetched": changed})
        if not as_json:
            click.echo(f"{source.folder}: {source.commit[:12]} is {'checked out' if changed else 'there already'}")
    if as_json:
        click.echo(json.dumps(done, indent=2))
    if failed:
        raise failed[0]


@sources.command(epilog="Example: admlops sources verify MapTR", short_help="Check that sources are what is pinned.")
@MODELS
@JSON
def verify(names: tuple[str, ...], as_json: bool) -> None:
    """Check that model.toml, the submodule and what is checked out are the same commit, without changes."""
    from admlops.core.errors import DifferencesError
    from admlops.core.paths import find_layout

    layout = find_layout()
    rows = [_describe(layout, source) for source in _select(layout, names)]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    lines = [f"{row['source']}: {problem}" for row in rows for problem in row["problems"]]
    if lines:
        raise DifferencesError("\n".join(lines), hint=f"admlops sources fetch {' '.join(names)}".rstrip())
    if not as_json:
        counted = "1 source is" if len(rows) == 1 else f"{len(rows)} sources are"
        click.echo(f"{counted} exactly what is pinned")


def _plan(layout: Layout, names: tuple[str, ...], *, force: bool) -> list[Planned]:
    from admlops.core.types import Planned
    from admlops.sources.checkouts import read_state

    steps = []
    for source in _select(layout, names):
        path = source.path(layout)
        state = read_state(path)
        if state.dirty and (force or state.commit != source.commit):
            verb = "drop changes in" if force else "refuse changes in"
            steps.append(Planned(action=verb, target=str(path), detail=", ".join(state.changed)))
        if state.commit != source.commit:
            steps.append(Planned(action="check out", target=str(path), detail=source.commit))
    return steps


def _select(layout: Layout, names: tuple[str, ...]) -> tuple[PinnedSource, ...]:
    from admlops.catalog import list_models, load_model
    from admlops.sources.checkouts import list_sources

    return list_sources(layout, [load_model(layout, name) for name in names or list_models(layout)])


def _describe(layout: Layout, source: PinnedSource) -> dict[str, Any]:
    from admlops.core.addresses import redact
    from admlops.sources.checkouts import find_problems, read_state

    state = read_state(source.path(layout))
    return {
        "source": source.folder,
        "repository": redact(source.repository),
        "commit": source.commit,
        "models": list(source.models),
        "checked_out": state.commit,
        "dirty": state.dirty,
        "diff_sha256": state.diff_sha256,
        "problems": list(find_problems(layout, source)),
    }


def _status(problems: list[str]) -> str:
    return "; ".join(problems) or "as pinned"
