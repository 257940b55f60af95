"""`admlops env lock`: make, check and complete the locks of models' variants."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from admlops.cli.completion import complete_environments, complete_variants
from admlops.cli.conventions import dry_run_option, say
from admlops.cli.env_hints import naming

if TYPE_CHECKING:
    from admlops.core.errors import AdmlopsError
    from admlops.core.types import Planned
    from admlops.environments.locking.variant_locks import Part, VariantLocks

EVERY_MODEL = ("all",)


@click.command(epilog="Example: admlops env lock MapTR --check")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_environments)
@click.option("--variant", shell_complete=complete_variants, help="One set of pins. [default: all of the model's]")
@click.option(
    "--index",
    metavar="DIR|URL",
    help="Where conda channels lie, each below its name. [default: their own host]",
)
@click.option("--only", type=click.Choice(["conda", "python"]), help="Make only these locks.")
@click.option("--check", is_flag=True, help="Compare the locks with their inputs; needs no network.")
@click.option("--record", is_flag=True, help="Fetch what the locks name once, and write down hashes and sizes.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def lock(
    names: tuple[str, ...],
    variant: str | None,
    index: str | None,
    only: Part | None,
    check: bool,
    record: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Make the locks of MODEL... from environment.yml and requirements.in; `all` means every model that has inputs.

    Nothing is installed. Exit status 1: --check found locks that do not match their inputs.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.core.errors import UsageError

    if check + record + bool(index or only) > 1:
        raise UsageError(
            "--check goes neither with --record nor with --index or --only, and --record with none of them",
            hint="admlops env lock --help",
        )
    chosen = _choose(names, variant)
    for name, error in chosen.failed.items():
        click.echo(f"{name}: {error}", err=True)
    if dry_run and not check:
        show_plan(_plan_locks(chosen.variants, only), as_json=as_json)
    elif check:
        _check(chosen, as_json)
    elif record:
        _record(chosen.variants, as_json)
    else:
        _make(chosen.variants, index, only, as_json)
    if chosen.failed:
        raise SystemExit(2)


@dataclass(frozen=True)
class ChosenVariants:
    """The variants to lock, those that have no inputs (name → the file that is not there), and models that fail."""

    variants: list[VariantLocks]
    without_inputs: dict[str, str]
    failed: dict[str, AdmlopsError]


def _choose(names: tuple[str, ...], variant: str | None) -> ChosenVariants:
    """Find the variants of the named models; with `all`, one that cannot be locked does not stop the others."""
    from admlops.catalog import list_models, load_model
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import find_layout
    from admlops.environments.locking.variant_locks import inputs_of, locks_of

    layout = find_layout()
    every = names == EVERY_MODEL
    chosen = ChosenVariants([], {}, {})
    for name in list_models(layout) if every else names:
        try:
            model = load_model(layout, name)
            for one in [variant] if variant else model.variants:
                inputs = inputs_of(model, one)
                if every and not inputs.is_file():
                    chosen.without_inputs[f"{name}-{one}"] = str(inputs)
                else:
                    chosen.variants.append(locks_of(layout, model, one))
        except AdmlopsError as error:
            if not every:
                raise
            chosen.failed[name] = error
    return chosen


def _plan_locks(variants: Iterable[VariantLocks], only: Part | None) -> list[Planned]:
    """Say which locks `env lock` would make."""
    from admlops.core.types import Planned

    steps = []
    for locks in variants:
        if only != "python" and locks.conda_lock is not None:
            steps.append(Planned(action="make", target=str(locks.conda_lock), detail="from environment.yml"))
        if only != "conda":
            steps += [
                Planned(action="make", target=str(lock), detail=f"from {file.name}")
                for file, lock in locks.python_locks.items()
            ]
    return steps


def _make(variants: list[VariantLocks], index: str | None, only: Part | None, as_json: bool) -> None:
    from admlops.environments.locking.variant_locks import make_locks

    made = {}
    parts: tuple[Part, ...] = ("conda", "python") if only is None else (only,)
    for locks in variants:
        with naming(locks.model):
            made.update(make_locks(locks, index=index, parts=parts, say=lambda line: click.echo(line, err=as_json)))
    if as_json:
        click.echo(json.dumps([{"lock": str(path), "packages": count} for path, count in made.items()], indent=2))


def _check(chosen: ChosenVariants, as_json: bool) -> None:
    from admlops.environments.locking.check import LockCheck, check_locks

    found = {locks.name: check_locks(locks) for locks in chosen.variants}
    for name, inputs in chosen.without_inputs.items():
        found[name] = LockCheck(problems=(), notes=(f"not checked: there is no {inputs}",))
    if as_json:
        rows = [{"name": name, "problems": one.problems, "notes": one.notes} for name, one in found.items()]
        click.echo(json.dumps(rows, indent=2))
    else:
        for name, one in found.items():
            answer = "no inputs" if name in chosen.without_inputs else "the locks answer their inputs"
            click.echo(f"{name}: {'stale' if one.problems else answer}")
            for line in one.problems:
                click.echo(f"  {line}")
            for line in one.notes:
                click.echo(f"  note: {line}")
    stale = [locks for locks in chosen.variants if found[locks.name].problems]
    if stale:
        click.echo(f"→ admlops env lock {stale[0].model} --variant {stale[0].variant}", err=True)
        raise SystemExit(2 if chosen.failed else 1)


def _record(variants: list[VariantLocks], as_json: bool) -> None:
    from admlops.core.paths import find_layout
    from admlops.environments.install.caches import cache_folder
    from admlops.environments.locking.record import record_locks

    cache = cache_folder(find_layout())
    recorded = {}
    for locks in variants:
        with naming(locks.model):
            lines = record_locks(locks, cache=cache, say=say)
        recorded[locks.name] = lines
        if not as_json:
            click.echo("\n".join(lines) if lines else f"{locks.name}: nothing was missing")
    if as_json:
        click.echo(json.dumps(recorded, indent=2))
