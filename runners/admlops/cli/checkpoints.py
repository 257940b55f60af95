"""`admlops checkpoints`: published weights, fetched, checked and inspected before anything loads them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.checkpoints_train import train
from admlops.cli.completion import complete_checkpoints, complete_models
from admlops.cli.conventions import dry_run_option, say, with_format
from admlops.cli.out_paths import OutPath
from admlops.core.counting import count_of

if TYPE_CHECKING:
    from admlops.catalog import Model
    from admlops.checkpoints import Stored
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import Layout
    from admlops.core.types import Planned

JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group(epilog="Example: admlops checkpoints fetch StreamPETR")
def checkpoints() -> None:
    """Published weights: list, fetch, verify and add them.

    A file is hashed and inspected before it may be used: one that would run code when it is loaded is refused.
    """


checkpoints.add_command(train)


@checkpoints.command(
    "list",
    epilog="Example: admlops checkpoints list MapTR --json",
    short_help="List checkpoints and whether they are ready.",
)
@click.argument("names", metavar="[MODEL]...", nargs=-1, shell_complete=complete_models)
@with_format
@JSON
def list_(names: tuple[str, ...], as_json: bool) -> None:
    """List the checkpoints of MODEL..., of all models without an argument, and which are ready.

    Those that were trained here follow, with the weights that they started from and their teacher.
    """
    from admlops.cli.checkpoints_trained import list_trained
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout

    layout = find_layout()
    models = _models(layout, names)
    rows = [row for model in models for row in (*_rows(layout, model), *list_trained(layout, model))]
    if as_json:
        click.echo(json.dumps(rows, indent=2))
        return
    columns = ("model", "checkpoint", "file", "MB", "sha256", "status")
    print_table(columns, [_spell_row(row) for row in rows])


@checkpoints.command(
    epilog="Example: admlops checkpoints fetch MapTR tiny-24e tiny-110e", short_help="Download checkpoints."
)
@click.argument("model_name", metavar="[MODEL]", required=False, shell_complete=complete_models)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_checkpoints)
@click.option("--all", "every", is_flag=True, help="Every checkpoint, not only the default one.")
@dry_run_option
@JSON
def fetch(model_name: str | None, names: tuple[str, ...], every: bool, dry_run: bool, as_json: bool) -> None:
    """Download checkpoints of MODEL: its default one, or those called NAME; without MODEL, every model's default one.

    Goes on with the others when one fails, and where an earlier download stopped.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import find_layout

    layout = find_layout()
    stored: list[dict[str, Any]] = []
    failed: list[AdmlopsError] = []
    unreachable: set[str] = set()
    models = _models(layout, (model_name,) if model_name else ())
    wanted = [(model, name) for model in models for name in names or _chosen(model, every=every)]
    for model in models if model_name and not names else ():
        for name in (one for one, made in model.checkpoints.items() if made.trained_by is not None):
            say(f"{model.name} {name} is not published but trained here: {model.weights_command(name)}")
    if dry_run:
        show_plan((step for model, name in wanted for step in _plan_fetch(layout, model, name)), as_json=as_json)
        return
    for model, name in wanted:
        try:
            one = _fetch_one(layout, model, name, unreachable)
        except AdmlopsError as error:
            failed.append(error)
            if len(wanted) > 1:
                click.echo(str(error), err=True)
            continue
        stored.append(_describe_stored(model, name, one))
        if not as_json:
            click.echo(_spell_stored(model, name, one))
    if as_json:
        click.echo(json.dumps(stored, indent=2))
    if failed:
        raise failed[0] if len(wanted) == 1 else _summarise(failed)


@checkpoints.command(
    epilog="Example: admlops checkpoints verify MapTR", short_help="Read every byte of the checkpoints again."
)
@click.argument("model_name", metavar="[MODEL]", required=False, shell_complete=complete_models)
@click.argument("names", metavar="[NAME]...", nargs=-1, shell_complete=complete_checkpoints)
@JSON
def verify(model_name: str | None, names: tuple[str, ...], as_json: bool) -> None:
    """Read again every byte of the checkpoints that are there: hash, archive sums, and what loading them would do."""
    from admlops.checkpoints import find_problem, path_of
    from admlops.core.errors import CheckpointError
    from admlops.core.paths import find_layout

    layout = find_layout()
    rows = []
    for model in _models(layout, (model_name,) if model_name else ()):
        for name in names or [one for one in model.checkpoints if path_of(layout, model, one).is_file()]:
            problem = find_problem(layout, model, name, thorough=True)
            rows.append({"model": model.name, "checkpoint": name, "problem": problem})
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    wrong = [f"{row['model']} {row['checkpoint']}: {row['problem']}" for row in rows if row["problem"]]
    if wrong:
        again = next(f"{row['model']} {row['checkpoint']}" for row in rows if row["problem"])
        raise CheckpointError(
            "\n".join(wrong), hint=f"admlops checkpoints fetch {again}   # gets the recorded file again"
        )
    if not as_json:
        click.echo(f"{len(rows)} checkpoints are as recorded")


@checkpoints.command(
    epilog="Example: admlops checkpoints add MapTR tiny-24e ~/Downloads/maptr_tiny_r50_24e.pth",
    short_help="Take a file, downloaded by hand, as a checkpoint.",
)
@click.argument("model_name", metavar="MODEL", shell_complete=complete_models)
@click.argument("name", shell_complete=complete_checkpoints)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--replace", is_flag=True, help="Take it although another file was recorded before.")
@dry_run_option
@JSON
def add(model_name: str, name: str, file: Path, replace: bool, dry_run: bool, as_json: bool) -> None:
    """Take FILE, downloaded by hand, as the checkpoint NAME of MODEL; it is copied, hashed and inspected."""
    from admlops.catalog import load_model
    from admlops.checkpoints import add as add_file
    from admlops.cli.byte_progress import show_bytes
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import find_layout, user_path

    layout = find_layout()
    model = load_model(layout, model_name)
    if dry_run:
        show_plan(_plan_add(layout, model, name, user_path(file)), as_json=as_json)
        return
    with show_bytes(file.name) as progress:
        stored = add_file(layout, model, name, user_path(file), say=say, replace=replace, progress=progress)
    if as_json:
        click.echo(json.dumps(_describe_stored(model, name, stored), indent=2))
    else:
        click.echo(_spell_stored(model, name, stored))


@checkpoints.command(
    epilog="Example: admlops checkpoints inspect work_dirs/latest.pth",
    short_help="Say what a file holds, without loading it.",
)
@click.argument("file", type=click.Path(path_type=Path))
@with_format
@JSON
def inspect(file: Path, as_json: bool) -> None:
    """Say what FILE holds without loading it: format, weights, and which entry of the catalogue they are or fit."""
    from admlops.catalog import list_models, load_model
    from admlops.checkpoints import describe
    from admlops.cli.tables import print_table
    from admlops.core.paths import find_layout, user_path

    layout = find_layout()
    facts = describe(layout, [load_model(layout, name) for name in list_models(layout)], user_path(file))
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    print_table((str(file), ""), [(name.replace("_", " "), _spell_fact(value)) for name, value in facts.items()])


@checkpoints.command(
    epilog="Example: admlops checkpoints extract whole_network.pt weights.safetensors",
    short_help="Write the weights of a refused file as safetensors.",
)
@click.argument("file", type=click.Path(path_type=Path))
@click.argument("target", metavar="OUT", type=OutPath())
@dry_run_option
@JSON
def extract(file: Path, target: Path, dry_run: bool, as_json: bool) -> None:
    """Write the weights in FILE, a refused checkpoint, to OUT in safetensors; nothing in FILE is run."""
    from admlops.checkpoints import extract as extract_file
    from admlops.cli.dry_run import show_plan
    from admlops.core.paths import user_path
    from admlops.core.types import Planned

    done = extract_file(user_path(file), user_path(target), dry_run=dry_run)
    if dry_run:
        show_plan(
            [Planned(action="write", target=str(target), detail=count_of(done.tensors, "tensor"))], as_json=as_json
        )
        return
    if as_json:
        click.echo(
            json.dumps({"path": str(done.path), "tensors": done.tensors, "ema": done.ema, "left": done.left}, indent=2)
        )
        return
    average = " of the moving average" if done.ema else ""
    aside = f"; left aside: {done.left}" if done.left else ""
    click.echo(f"{done.path}: {count_of(done.tensors, 'tensor')}{average}{aside}")


def _spell_fact(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "unknown" if value is None else str(value)


def _models(layout: Layout, names: tuple[str, ...]) -> list[Model]:
    from admlops.catalog import list_models, load_model

    return [load_model(layout, name) for name in names or list_models(layout)]


def _chosen(model: Model, *, every: bool) -> tuple[str, ...]:
    """Return what is fetched if no name is given: weights that are trained here are left out."""
    names = tuple(model.checkpoints) if every else (model.default_checkpoint or "",)
    return tuple(name for name in names if name and model.checkpoints[name].trained_by is None)


def _fetch_one(layout: Layout, model: Model, name: str, unreachable: set[str]) -> Stored:
    """Fetch one checkpoint; a host that did not answer once is not asked again."""
    from functools import partial

    from admlops.checkpoints import fetch as fetch_checkpoint
    from admlops.checkpoints import find_checkpoint, find_problem
    from admlops.cli.byte_progress import show_bytes
    from admlops.downloads import UnreachableError
    from admlops.environments.npm import npm_command

    checkpoint = find_checkpoint(model, name)
    host = checkpoint.host
    if host in unreachable and find_problem(layout, model, name) is not None:
        raise UnreachableError(
            f"{model.name} {name}: {host} cannot be reached", hint=f"admlops checkpoints fetch {model.name} {name}"
        )
    try:
        with show_bytes(f"{model.name} {name}") as progress:
            return fetch_checkpoint(
                layout, model, name, say=say, progress=progress, npm=partial(npm_command, layout, say=say)
            )
    except UnreachableError:
        unreachable.add(host)
        raise


def _plan_fetch(layout: Layout, model: Model, name: str) -> list[Planned]:
    """Say what would be downloaded; nothing if the file is there and as recorded."""
    from admlops.checkpoints import find_checkpoint, find_problem, path_of
    from admlops.core.types import Planned

    checkpoint = find_checkpoint(model, name)
    problem = find_problem(layout, model, name)
    if problem is None:
        return []
    if checkpoint.trained_by is not None:
        return [Planned(action="leave out", target=f"{model.name} {name}", detail=model.weights_command(name))]
    host, packed = checkpoint.host, checkpoint.npm
    size_bytes = checkpoint.size_bytes if packed is None else packed.size_bytes
    size = "" if size_bytes is None else f"{size_bytes / 1e6:.0f} MB "
    return [
        Planned(
            action="download", target=str(path_of(layout, model, name)), detail=f"{size}from {host}; now: {problem}"
        )
    ]


def _plan_add(layout: Layout, model: Model, name: str, file: Path) -> list[Planned]:
    """Say what would be copied, after inspecting the file as the copy would."""
    from admlops.checkpoints import find_checkpoint, inspect, path_of, require_file
    from admlops.core.types import Planned

    find_checkpoint(model, name)
    require_file(file, f"admlops checkpoints list {model.name}   # shows which file belongs to {name}")
    inspect(file, form=model.checkpoint_form)
    target, size = path_of(layout, model, name), file.stat().st_size
    verb = "replace" if target.exists() else "copy to"
    return [Planned(action=verb, target=str(target), detail=f"{size / 1e6:.1f} MB of {file}")]


def _summarise(failed: list[AdmlopsError]) -> AdmlopsError:
    from admlops.core.errors import DownloadError

    return DownloadError(
        f"{count_of(len(failed), 'checkpoint')} could not be had: see above", hint="admlops checkpoints list"
    )


def _rows(layout: Layout, model: Model) -> list[dict[str, Any]]:
    from admlops.checkpoints import find_problem, path_of
    from admlops.checkpoints.register import read_register

    rows = []
    for name, checkpoint in model.checkpoints.items():
        path = path_of(layout, model, name)
        entry = read_register(path.parent).get(path.name)
        rows.append(
            {
                "model": model.name,
                "checkpoint": name,
                "default": name == model.default_checkpoint,
                "path": str(path),
                "size_bytes": entry.size_bytes if entry else checkpoint.size_bytes,
                "sha256": entry.sha256 if entry else checkpoint.sha256,
                "sha256_from": "model.toml" if checkpoint.sha256 else "hashes.json" if entry else None,
                "format": entry.format if entry else None,
                "status": _status(model, name, find_problem(layout, model, name)),
            }
        )
    return rows


def _status(model: Model, name: str, problem: str | None) -> str:
    reason = model.not_runnable.get(model.checkpoints[name].config)
    return f"{problem or 'ready'}; no variant runs it: {reason}" if reason else problem or "ready"


def _spell_row(row: dict[str, Any]) -> tuple[str, ...]:
    size = "" if row["size_bytes"] is None else f"{row['size_bytes'] / 1e6:.1f}"
    sha256 = "" if row["sha256"] is None else f"{row['sha256'][:12]}…"
    name = f"{row['checkpoint']}{' (default)' if row['default'] else ''}"
    return row["model"], name, Path(row["path"]).name, size, sha256, row["status"]


def _describe_stored(model: Model, name: str, stored: Stored) -> dict[str, Any]:
    entry = stored.entry
    return {
        "model": model.name,
        "checkpoint": name,
        "path": str(stored.path),
        "new": stored.new,
        "size_bytes": entry.size_bytes,
        "sha256": entry.sha256,
        "format": entry.format,
        "tensors": entry.tensors,
    }


def _spell_stored(model: Model, name: str, stored: Stored) -> str:
    if not stored.new:
        return f"{model.name} {name} is there already: {stored.path}"
    entry = stored.entry
    facts = (
        f"{entry.format}, {count_of(entry.tensors, 'tensor')}, {entry.size_bytes / 1e6:.1f} MB, sha256 {entry.sha256}"
    )
    return f"{model.name} {name}: {stored.path} ({facts})"
