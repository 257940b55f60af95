"""Which of its backends an environment is built by: the one that was asked for, or the first that can work here."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.core.errors import EnvError
from admlops.core.types import Say
from admlops.environments.install.options import BackendChoice
from admlops.environments.prefix import Backend
from admlops.environments.spec.interpreter import Interpreter, find_interpreter
from admlops.environments.spec.specification import Recipe

if TYPE_CHECKING:
    from admlops.environments.locking.conda_lock import CondaPackage


@dataclass(frozen=True, kw_only=True)
class Base:
    """What an environment stands on: an interpreter of this machine, or the packages of a conda lock."""

    backend: Backend
    interpreter: Interpreter | None = None
    packages: tuple[CondaPackage, ...] = field(default=())

    @property
    def python_version(self) -> str:
        """X.Y.Z of the environment's Python."""
        if self.interpreter is not None:
            return self.interpreter.version
        return next(package.version for package in self.packages if package.name == "python")


def choose_base(recipe: Recipe, choice: BackendChoice, *, cache: Path, say: Say) -> Base:
    """The base of an environment to be built.

    With `auto` the backends are tried in the recipe's order of preference: conda works where its lock is there and its
    packages are in the cache or their host answers, venv where the machine has the Python.

    Raises:
        EnvError: a lock is missing or not whole, or no backend works; says why of each.
    """
    if choice != "auto":
        if choice not in recipe.backends:
            raise EnvError(
                f"{recipe.name} cannot be built by {choice}; it can by {' and '.join(recipe.backends)}",
                hint=f"admlops env install {asked_as(recipe)} --backend {recipe.backends[0]}",
            )
        return _base(recipe, choice)
    reasons: list[str] = []
    for backend in recipe.backends:
        reason = _hindrance(recipe, backend, cache)
        if reason is None:
            if reasons:
                say(f"{recipe.name} is built by {backend}, because {'; '.join(reasons)}")
            return _base(recipe, backend)
        reasons.append(reason)
    missing = recipe.missing_lock("venv")
    if missing is not None:
        raise EnvError(
            f"{recipe.name} is not set up: its lock {missing} does not exist",
            hint="admlops models list   # shows which models can be set up here",
        )
    raise EnvError(
        f"{recipe.name} cannot be built here: {'; '.join(reasons)}",
        hint="check the network, then run the command again; or install the Python: uv python install",
    )


def _base(recipe: Recipe, backend: Backend) -> Base:
    missing = recipe.missing_lock(backend)
    if missing is not None:
        raise EnvError(
            f"{recipe.name} is not set up: its lock {missing} does not exist",
            hint="admlops models list   # shows which models can be set up here",
        )
    if backend == "venv":
        return Base(backend="venv", interpreter=find_interpreter(recipe.python))
    return Base(backend="conda", packages=read_conda_packages(recipe))


def _hindrance(recipe: Recipe, backend: Backend, cache: Path) -> str | None:
    """Why a backend cannot work here, or None."""
    missing = recipe.missing_lock(backend)
    if missing is not None:
        return f"there is no {missing}"
    if backend == "venv":
        try:
            find_interpreter(recipe.python)
        except EnvError as error:
            return error.message
        return None
    from admlops.environments.install.conda import channels_answer, not_cached

    packages = read_conda_packages(recipe)
    if not not_cached(packages, cache=cache) or channels_answer((one.url for one in packages), cache=cache):
        return None
    return "the host of the conda packages does not answer"


def asked_as(recipe: Recipe) -> str:
    """What a person types after `admlops env install` for this recipe."""
    return recipe.model or recipe.name.replace("official-", "official/", 1)


def read_conda_packages(recipe: Recipe) -> tuple[CondaPackage, ...]:
    """The packages of the recipe's conda lock; none if it has no such lock."""
    from admlops.environments.locking.conda_lock import read_conda_lock

    return () if recipe.conda_lock is None else read_conda_lock(recipe.conda_lock).packages
