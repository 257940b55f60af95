"""Environments built from hashed locks: what is asked for, what is there, and how one becomes the other.

`ensure_model` and `ensure_official` give a ready environment, building it first if they must; `find_model` and
`find_official` only look. An environment is a prefix and a set of variables; nothing else in the project knows how
it was built.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Device, Say
from admlops.environments.prefix import Environment, prefix_of, read_state
from admlops.environments.spec.interpreter import find_interpreter
from admlops.environments.spec.specification import Recipe

if TYPE_CHECKING:
    from admlops.catalog import Model
    from admlops.environments.install.options import BuildOptions

__all__ = [
    "Environment",
    "Recipe",
    "candidates",
    "ensure",
    "ensure_model",
    "ensure_official",
    "find",
    "find_model",
    "find_official",
    "prefix_of",
    "recipes_of_model",
]

GPU_DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


def ensure_model(
    layout: Layout,
    model: Model,
    variant: str | None = None,
    *,
    device: Device | None = None,
    say: Say,
    options: BuildOptions | None = None,
) -> Environment:
    """A ready environment for a model's variant (the default one if None), built if it is not there.

    Without `options` only what is quick is built: a variant with compiled operations must have been set up before.
    `device` is the one of this machine if None.

    Raises:
        EnvError: the variant has no lock yet, is not set up, or its environment cannot be built; says why.
    """
    found = find_model(layout, model, variant, device=device)
    if found is not None and (options is None or options.backend in ("auto", found.backend)):
        return found
    if device is None and model.variants[variant or model.default_variant].devices:
        device = _this_machines_device()
    recipe = Recipe.of_model(model, variant, device=device)
    if options is None and recipe.compiled and recipe.missing_lock("venv") is None:
        raise EnvError(
            f"{recipe.name} is not set up: its environment is not built, and compiling takes minutes",
            hint=f"make setup-{model.name}   # or: admlops env install {model.name} --variant {recipe.variant}",
        )
    return ensure(layout, recipe, say=say, options=options)


def ensure_official(layout: Layout, name: str, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """A ready environment for an official evaluator, `envs/official/<name>/`."""
    return ensure(layout, Recipe.of_official(layout, name), say=say, options=options)


def find_model(
    layout: Layout, model: Model, variant: str | None = None, *, device: Device | None = None
) -> Environment | None:
    """The model's environment if one is ready, by whatever backend, for the device if named; else None.

    Builds and downloads nothing.
    """
    found = (find(layout, recipe) for recipe in recipes_of_model(model, variant, device=device))
    return next((environment for environment in found if environment is not None), None)


def find_official(layout: Layout, name: str) -> Environment | None:
    """The official evaluator's environment if it is ready, else None."""
    return find(layout, Recipe.of_official(layout, name))


def recipes_of_model(model: Model, variant: str | None = None, *, device: Device | None = None) -> list[Recipe]:
    """The recipes that serve a variant on this machine, the best one first: several where devices have their own."""
    pins = model.variants.get(variant or model.default_variant)
    devices: Iterable[Device | None] = [device]
    if device is None and pins is not None and pins.devices:
        gpu = any(path.exists() for path in GPU_DEVICE_FILES)
        devices = sorted(pins.devices, key=lambda one: (one == "cuda") != gpu)
    return [Recipe.of_model(model, variant, device=one) for one in devices]


def ensure(layout: Layout, recipe: Recipe, *, say: Say, options: BuildOptions | None = None) -> Environment:
    """A ready environment for a recipe, built if it is not there; by the backend that `options` name, if they do."""
    found = find(layout, recipe)
    if found is not None and (options is None or options.backend in ("auto", found.backend)):
        return found
    from admlops.environments.install.build import build

    return build(layout, recipe, say=say, options=options)


def find(layout: Layout, recipe: Recipe) -> Environment | None:
    """The recipe's environment if one is ready, the preferred backend's first; else None."""
    ready = []
    for prefix in layout.environments.glob(f"{recipe.name}-*"):
        state = read_state(prefix)
        # A prefix that was moved does not run: it is full of absolute paths.
        at_its_place = state is not None and prefix == prefix_of(layout, recipe.name, str(state.get("digest")))
        if state is not None and at_its_place and recipe.asks_for(state):
            ready.append(Environment.load(prefix, digest=state["digest"]))
    found = (environment for environment in ready if environment is not None)
    return min(found, key=lambda one: recipe.backends.index(one.backend), default=None)


def candidates(layout: Layout, recipe: Recipe) -> list[tuple[Path, str]]:
    """(prefix, digest) of the environments that a recipe can have on this machine, the preferred backend's first."""
    return [(prefix_of(layout, recipe.name, digest), digest) for digest in _digests(recipe)]


def _digests(recipe: Recipe) -> Iterator[str]:
    for backend in recipe.backends:
        if recipe.missing_lock(backend) is not None:
            continue
        if backend == "conda":
            yield recipe.digest("conda")
            continue
        try:
            yield recipe.digest("venv", find_interpreter(recipe.python))
        except EnvError:
            continue  # no such interpreter here, so no such environment


def _this_machines_device() -> Device:
    from admlops.environments.install.preflight import choose_device
    from admlops.health.gpus import detect_gpus

    return choose_device(detect_gpus())
