"""`admlops env install`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from admlops.cli.completion import complete_environments, complete_variants
from admlops.cli.conventions import dry_run_option
from admlops.cli.env_hints import naming

if TYPE_CHECKING:
    from admlops.catalog import Model
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import Layout
    from admlops.core.types import Device, Planned, Say
    from admlops.environments import Environment
    from admlops.environments.install.options import BuildOptions


@click.command("install", epilog="Example: admlops env install MapTR PETR --variant classic")
@click.argument("names", metavar="MODEL...", nargs=-1, required=True, shell_complete=complete_environments)
@click.option(
    "--variant",
    default="auto",
    show_default=True,
    shell_complete=complete_variants,
    help="One set of pins; auto takes what this GPU runs.",
)
@click.option(
    "--installer",
    default="auto",
    show_default=True,
    help="How the environment is filled: conda packages (conda), or on a Python of this machine (venv).",
)
@click.option("--backend", "old_installer", hidden=True)
@click.option(
    "--device",
    type=click.Choice(["auto", "cuda", "cpu"]),
    default="auto",
    show_default=True,
    help="What compiled operations are built for.",
)
@click.option("--jobs", type=click.IntRange(min=1), help="Compilers at once; as many as memory allows if not given.")
@click.option("--trust-first-use", is_flag=True, hidden=True)
@click.option(
    "--pack/--no-pack",
    default=None,
    help="--pack: store the environment for later installations. --no-pack: build from packages, whatever packs there "
    "are. Default: use a pack that fits; store one if packs are on another disk.",
)
@click.option(
    "--accept-licence",
    is_flag=True,
    help="Say yes to a licence that is asked for (AGPL); remembered for this user and licence.",
)
@click.option("--licence-only", is_flag=True, help="Ask for the licences, and install nothing.")
@dry_run_option
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def install(
    names: tuple[str, ...],
    variant: str,
    installer: str,
    old_installer: str | None,
    device: str,
    jobs: int | None,
    trust_first_use: bool,
    pack: bool | None,
    accept_licence: bool,
    licence_only: bool,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Build the environments of MODEL... from their locks; does nothing for those that are ready.

    If one fails, the others are built all the same. `official/NAME` names the environment of an official
    evaluator, `tools/NAME` one of packages that jobs such as an export add to a model's own.
    """
    from admlops.cli.dry_run import show_plan
    from admlops.cli.install_progress import show_installation
    from admlops.core.errors import AdmlopsError
    from admlops.core.paths import find_layout
    from admlops.environments.install.options import BuildOptions

    _check_options(names, old_installer or installer, trust_first_use=trust_first_use)
    layout = find_layout()
    if dry_run:
        chosen = old_installer or installer
        show_plan(
            (step for name in names for step in _plan_install(layout, name, variant, device, chosen)), as_json=as_json
        )
        return
    rows = []
    failed = _settle_licences(layout, names, accepted=accept_licence)
    if licence_only:
        _end(names, failed)
        return
    with show_installation() as (say, watch):
        options = BuildOptions(
            installer=old_installer or installer,
            jobs=jobs,
            use_packs=pack is not False,
            progress=watch,
        )
        for name in [one for one in names if one not in failed]:
            begun = time.monotonic()
            try:
                with naming(name):
                    environment = _install(layout, name, variant, device, options=options, say=say)
                rows.append(describe_environment(environment) | {"duration_s": round(time.monotonic() - begun, 3)})
                if not as_json:
                    click.echo(f"{environment.name} is ready: {environment.prefix}")
                if pack if pack is not None else _is_elsewhere(layout):
                    _keep_pack(layout, environment, say)
            except AdmlopsError as error:
                failed[name] = error
                if len(names) > 1:
                    say(f"{name}: {error}")
    if as_json:
        click.echo(json.dumps(rows, indent=2))
    _end(names, failed)


def _settle_licences(layout: Layout, names: tuple[str, ...], *, accepted: bool) -> dict[str, AdmlopsError]:
    """Ask for the licences of the models first, before an installation takes minutes; return the errors by name."""
    from admlops.catalog import load_model
    from admlops.cli.conventions import say
    from admlops.cli.env_licence import settle_licence
    from admlops.core.errors import AdmlopsError
    from admlops.environments.spec.environment_spec import split_group

    failed: dict[str, AdmlopsError] = {}
    for name in names:
        if split_group(name) is not None:
            continue
        try:
            with naming(name):
                settle_licence(layout, load_model(layout, name), accepted=accepted)
        except AdmlopsError as error:
            failed[name] = error
            if len(names) > 1:
                say(f"{name}: {error}")
    return failed


def _check_options(names: tuple[str, ...], installer: str, *, trust_first_use: bool) -> None:
    from admlops.catalog.registries import INSTALLERS
    from admlops.core.errors import UsageError
    from admlops.environments.install.options import AUTO

    if trust_first_use:
        raise UsageError(
            "--trust-first-use is gone: an installation never changes a lock",
            hint=f"admlops env lock {' '.join(names)} --record   # fetches what has no hash yet and records it",
        )
    if installer != AUTO and installer not in INSTALLERS:
        raise UsageError(
            f"--installer {installer}: {INSTALLERS.describe_unknown(installer)}",
            hint=f"admlops env install {' '.join(names)} --installer {AUTO}",
        )


def _end(names: tuple[str, ...], failed: dict[str, AdmlopsError]) -> None:
    """Raise what failed: the error itself if one model was asked for, else which of them did."""
    from admlops.core.errors import EnvError

    if len(names) == 1 and failed:
        raise next(iter(failed.values()))
    if failed:
        raise EnvError(
            f"{len(failed)} of {len(names)} could not be installed or packed: {', '.join(failed)}; each says why above",
            hint=f"admlops env install {' '.join(failed)}   # when that is mended",
        )


def _is_elsewhere(layout: Layout) -> bool:
    """Tell whether packs are on another disk than environments, which are then lost when a pod is stopped."""
    return layout.repository.is_dir() and layout.repository.stat().st_dev != layout.environments.stat().st_dev


def _keep_pack(layout: Layout, environment: Environment, say: Say) -> None:
    from admlops.cli.env_pack import pack_one
    from admlops.environments.inventory import select
    from admlops.environments.reuse.packs import COMPRESSED, STORED, pack_path, read_pack

    kept = read_pack(pack_path(layout.packs, environment.prefix))
    if kept is not None and kept.manifest.digest == environment.digest:
        return
    for one in select(layout, [environment.prefix.name]):
        made = pack_one(layout, one, level=COMPRESSED if _is_elsewhere(layout) else STORED)
        say(f"packed {environment.name} into {made.manifest.archive_size_bytes / 1e6:.0f} MB: {made.archive}")


def _install(layout: Layout, name: str, variant: str, device: str, *, options: BuildOptions, say: Say) -> Environment:
    from admlops.environments import ensure_model
    from admlops.environments.ensure import ensure
    from admlops.environments.spec.environment_spec import EnvironmentSpec, split_group

    grouped = split_group(name)
    if grouped is not None:
        return ensure(layout, EnvironmentSpec.of_group(layout, *grouped), say=say, options=options)
    from admlops.catalog import load_model

    model = load_model(layout, name)
    wanted: Device | None = None if device == "auto" else device  # type: ignore[assignment]  # click has checked it
    chosen = _choose_variant(model, wanted, say) if variant == "auto" else variant
    return ensure_model(layout, model, chosen, device=wanted, say=say, options=options)


def _plan_install(layout: Layout, name: str, variant: str, device: str, installer: str) -> list[Planned]:
    """Say what `env install` would do for one name: nothing if the environment is ready.

    Raises:
        EnvError: it could not be built, because a lock is missing or no installer works here.
    """
    from admlops.catalog import load_model
    from admlops.core.types import Planned
    from admlops.environments.ensure import find, specs_of_variant
    from admlops.environments.install.options import AUTO, BuildOptions
    from admlops.environments.install.plan import make_plan
    from admlops.environments.spec.environment_spec import EnvironmentSpec, split_group

    grouped = split_group(name)
    if grouped is not None:
        specs = [EnvironmentSpec.of_group(layout, *grouped)]
    else:
        model = load_model(layout, name)
        wanted = None if device == "auto" else device
        chosen = _choose_variant(model, wanted, lambda _: None) if variant == "auto" else variant  # type: ignore[arg-type]
        specs = specs_of_variant(model, chosen, device=wanted)  # type: ignore[arg-type]
    ready = (find(layout, spec) for spec in specs)
    if any(one is not None and installer in (AUTO, one.installer) for one in ready):
        return []
    licences = [] if grouped is not None else _plan_licences(model)
    plan = make_plan(layout, specs[0], say=lambda _: None, options=BuildOptions(installer=installer))
    if plan.has_pack():
        return [*licences, Planned(action="restore", target=str(plan.prefix), detail="from its pack")]
    return [*licences, Planned(action="build", target=str(plan.prefix), detail=plan.describe())]


def _plan_licences(model: Model) -> list[Planned]:
    """Say which licences would be asked for."""
    from admlops.core.types import Planned
    from admlops.environments.licences import open_licences

    return [Planned(action="ask", target=one, detail=f"the licence of {model.name}") for one in open_licences(model)]


def _choose_variant(model: Model, device: Device | None, say: Say) -> str:
    """The default variant, or another one that runs on this machine's GPUs."""
    if device == "cpu" or not any(pins.arch for pins in model.variants.values()):
        return model.default_variant
    from admlops.environments.install.preflight import choose_variant
    from admlops.health.gpus import detect_gpus

    chosen = choose_variant(model, detect_gpus())
    if chosen != model.default_variant:
        say(f"{model.name}: the variant {chosen}, because {model.default_variant} does not run on this GPU")
    return chosen


def describe_environment(environment: Environment) -> dict[str, Any]:
    """Return what `env install` and `env list` print of a ready environment."""
    from admlops.environments.prefix import read_state

    state = read_state(environment.prefix) or {}
    return {
        "name": environment.name,
        "prefix": str(environment.prefix),
        "digest": environment.digest,
        "installer": environment.installer,
        "device": environment.device,
        "python": state.get("python"),
        "packages": state.get("packages"),
        "size_bytes": state.get("size_bytes"),
    }
