"""`admlops env lock`: make, check and complete the locks of models' variants."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from admlops.environments.locking.variant_locks import Part, VariantLocks


@click.command(epilog="Example: admlops env lock MapTR --check")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True)
@click.option("--variant", help="One set of pins; all of the model's if not given.")
@click.option(
    "--index",
    metavar="DIR|URL",
    help="Where conda channels lie, each below its name; their own host if not given.",
)
@click.option("--only", type=click.Choice(["conda", "python"]), help="Make only these locks.")
@click.option("--check", is_flag=True, help="Say whether the locks still answer their inputs; needs no network.")
@click.option("--record", is_flag=True, help="Fetch what the locks name once, and write down hashes and sizes.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lock(
    names: tuple[str, ...],
    variant: str | None,
    index: str | None,
    only: Part | None,
    check: bool,
    record: bool,
    as_json: bool,
) -> None:
    """Make the locks of MODEL... from environment.yml and requirements.in; `all` means every model.

    Nothing is installed. Exit status 1: --check found locks that do not answer their inputs.
    """
    from admlops.core.errors import UsageError

    if check + record + bool(index or only) > 1:
        raise UsageError(
            "--check goes neither with --record nor with --index or --only, and --record with none of them",
            hint="admlops env lock --help",
        )
    variants = _choose(names, variant)
    if check:
        _check(variants, as_json)
    elif record:
        _record(variants, as_json)
    else:
        _make(variants, index, only, as_json)


def _choose(names: tuple[str, ...], variant: str | None) -> list[VariantLocks]:
    from admlops.catalog import list_models, load_model
    from admlops.core.paths import find_layout
    from admlops.environments.locking.variant_locks import locks_of

    layout = find_layout()
    models = [load_model(layout, name) for name in (list_models(layout) if names == ("all",) else names)]
    return [locks_of(layout, model, one) for model in models for one in ([variant] if variant else model.variants)]


def _make(variants: list[VariantLocks], index: str | None, only: Part | None, as_json: bool) -> None:
    from admlops.environments.locking.variant_locks import make_locks

    made = {}
    parts: tuple[Part, ...] = ("conda", "python") if only is None else (only,)
    for locks in variants:
        made.update(make_locks(locks, index=index, parts=parts, say=lambda line: click.echo(line, err=as_json)))
    if as_json:
        click.echo(json.dumps([{"lock": str(path), "packages": count} for path, count in made.items()], indent=2))


def _check(variants: list[VariantLocks], as_json: bool) -> None:
    from admlops.environments.locking.check import check_locks

    found = {locks.name: check_locks(locks) for locks in variants}
    if as_json:
        rows = [{"name": name, "problems": one.problems, "notes": one.notes} for name, one in found.items()]
        click.echo(json.dumps(rows, indent=2))
    else:
        for name, one in found.items():
            click.echo(f"{name}: {'stale' if one.problems else 'the locks answer their inputs'}")
            for line in one.problems:
                click.echo(f"  {line}")
            for line in one.notes:
                click.echo(f"  note: {line}")
    stale = [locks for locks in variants if found[locks.name].problems]
    if stale:
        click.echo(f"→ admlops env lock {stale[0].model} --variant {stale[0].variant}", err=True)
        raise SystemExit(1)


def _record(variants: list[VariantLocks], as_json: bool) -> None:
    from admlops.core.paths import find_layout
    from admlops.environments.install.caches import cache_folder
    from admlops.environments.locking.record import record_locks

    cache = cache_folder(find_layout())
    recorded = {}
    for locks in variants:
        lines = record_locks(locks, cache=cache, say=lambda line: click.echo(line, err=True))
        recorded[locks.name] = lines
        if not as_json:
            click.echo("\n".join(lines) if lines else f"{locks.name}: nothing was missing")
    if as_json:
        click.echo(json.dumps(recorded, indent=2))
