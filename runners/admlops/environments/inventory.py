"""Which environments are on disk, which of them the locks of today ask for, and which one a name means."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast, get_args

from admlops.catalog import Model, list_models, load_model
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Device
from admlops.environments import Environment, Recipe, find_model, find_official
from admlops.environments.integrity.lock_comparison import LockedConda
from admlops.environments.prefix import SENTINEL, STATE_FILE, read_state
from admlops.environments.spec.requirements import LockedPackage

OFFICIAL = "official/"


@dataclass(frozen=True, kw_only=True)
class Installed:
    """One prefix that admlops made, whole or not. `recipe` is None where no lock asks for its digest any more."""

    prefix: Path
    state: str
    details: Mapping[str, Any]
    recipe: Recipe | None

    @property
    def name(self) -> str:
        return str(self.details.get("name") or self.prefix.name)

    @property
    def digest(self) -> str | None:
        return self.details.get("digest")


def list_installed(layout: Layout) -> tuple[Installed, ...]:
    """Every prefix of ours below the environments' folder, by name; folders that admlops did not make are left out."""
    recipes = all_recipes(layout)
    folders = sorted(path for path in layout.environments.glob("*") if path.is_dir() and not path.name.startswith("."))
    return tuple(_read(folder, recipes) for folder in folders if is_ours(folder))


def is_ours(prefix: Path) -> bool:
    """Whether admlops made this folder: it holds the sentinel or a state file."""
    return (prefix / SENTINEL).is_file() or (prefix / STATE_FILE).is_file()


def _read(prefix: Path, recipes: Sequence[Recipe]) -> Installed:
    details = read_state(prefix) or {}
    asked = (recipe for recipe in recipes if recipe.name == details.get("name") and recipe.asks_for(details))
    return Installed(
        prefix=prefix, state=str(details.get("state", "unknown")), details=details, recipe=next(asked, None)
    )


def all_recipes(layout: Layout) -> list[Recipe]:
    """What the catalogue asks for today: every model, variant and device, and the official evaluators."""
    recipes = [recipe for name in list_models(layout) for recipe in recipes_of(load_model(layout, name))]
    return recipes + [Recipe.of_official(layout, name) for name in official_names(layout)]


def official_names(layout: Layout) -> list[str]:
    """The official evaluators that have an environment of their own."""
    return sorted(path.parent.name for path in (layout.envs / "official").glob("*/environment.toml"))


def recipes_of(model: Model, variant: str | None = None, device: Device | None = None) -> list[Recipe]:
    """The recipes of a model: all variants and devices, or those that are named."""
    names = [variant] if variant else list(model.variants)
    return [recipe for name in names for recipe in _recipes_of_variant(model, name, device)]


def _recipes_of_variant(model: Model, variant: str, device: Device | None) -> list[Recipe]:
    if device is not None or variant not in model.variants:
        return [Recipe.of_model(model, variant, device=device)]
    return [Recipe.of_model(model, variant, device=one) for one in model.variants[variant].devices or (None,)]


def select(
    layout: Layout, names: Sequence[str], *, variant: str | None = None, device: str | None = None
) -> tuple[Installed, ...]:
    """The prefixes on disk that names mean: `MODEL` (all its variants), `official/NAME`, or a prefix's folder name.

    Without names, all of them. A model's name does not mean prefixes that no lock asks for any more.

    Raises:
        EnvError: one is not there, in whatever state.
    """
    installed = list_installed(layout)
    if not names:
        return installed
    chosen: dict[Path, Installed] = {}
    for name in names:
        found = [one for one in installed if one.prefix.name == name]
        if not found:
            wanted = {recipe.name for recipe in recipes_named(layout, name, variant, device)}
            found = [one for one in installed if one.recipe is not None and one.name in wanted]
            found = [one for one in found if device is None or one.details.get("device") in (device, None)]
        if not found:
            raise not_installed(name, variant)
        chosen |= {one.prefix: one for one in found}
    return tuple(chosen.values())


def recipes_named(layout: Layout, name: str, variant: str | None, device: str | None) -> list[Recipe]:
    """The recipes that `MODEL` or `official/NAME` means on the command line."""
    if name.startswith(OFFICIAL):
        return [Recipe.of_official(layout, name.removeprefix(OFFICIAL))]
    return recipes_of(load_model(layout, name), variant, _device_of(device))


def ready_environment(
    layout: Layout, name: str, *, variant: str | None = None, device: str | None = None
) -> Environment:
    """The ready environment that a worker of `MODEL` or `official/NAME` would get, with its variables.

    Raises:
        EnvError: it is not installed, or not whole; says what to type.
    """
    if name.startswith(OFFICIAL):
        found = find_official(layout, name.removeprefix(OFFICIAL))
    else:
        found = find_model(layout, load_model(layout, name), variant, device=_device_of(device))
    if found is None:
        raise not_installed(name, variant)
    return found


def _device_of(text: str | None) -> Device | None:
    if text is not None and text not in get_args(Device):
        raise UsageError(f"--device {text} is neither cuda nor cpu", hint="pass --device cuda or --device cpu")
    return cast("Device | None", text)


def not_installed(name: str, variant: str | None) -> EnvError:
    option = f" --variant {variant}" if variant else ""
    return EnvError(f"{name}{option} has no ready environment here", hint=f"admlops env install {name}{option}")


def locked_conda(installed: Installed) -> Sequence[LockedConda] | None:
    """The conda packages that the prefix's lock asks for; None where it has no conda lock or was built otherwise."""
    recipe = installed.recipe
    if recipe is None or recipe.conda_lock is None or installed.details.get("backend") != "conda":
        return None
    from admlops.environments.install.backends import read_conda_packages

    return read_conda_packages(recipe)


def locked_python(installed: Installed) -> Sequence[LockedPackage] | None:
    """The Python packages that the prefix's locks ask for, for its Python; None where no lock asks for it any more."""
    version = installed.details.get("python")
    if installed.recipe is None or version is None:
        return None
    from admlops.environments.install.build import locked_packages

    return locked_packages(installed.recipe, str(version))
