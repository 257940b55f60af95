"""Environments built from hashed locks: what is asked for, what is there, and how one becomes the other.

`ensure_model` and `ensure_official` give a ready environment, building it first if they must; `find_model` and
`find_official` only look. An environment is a prefix and a set of variables; nothing else in the project knows how
it was built.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.environments.prefix import Environment
from admlops.environments.recipe import Recipe
from admlops.paths import Layout

if TYPE_CHECKING:
    from admlops.catalog import Model

__all__ = [
    "Environment",
    "Recipe",
    "ensure",
    "ensure_model",
    "ensure_official",
    "find_model",
    "find_official",
]

Say = Callable[[str], None]


def ensure_model(layout: Layout, model: Model, variant: str | None = None, *, say: Say) -> Environment:
    """A ready environment for a model's variant (the default one if None), built if it is not there.

    Raises:
        EnvError: the variant has no lock yet, or its environment cannot be built; says why.
    """
    return ensure(layout, Recipe.of_model(model, variant), say=say)


def ensure_official(layout: Layout, name: str, *, say: Say) -> Environment:
    """A ready environment for an official evaluator, `envs/official/<name>/`."""
    return ensure(layout, Recipe.of_official(layout, name), say=say)


def find_model(layout: Layout, model: Model, variant: str | None = None) -> Environment | None:
    """The model's environment if it is ready, else None. Builds and downloads nothing."""
    return _find(layout, Recipe.of_model(model, variant))


def find_official(layout: Layout, name: str) -> Environment | None:
    """The official evaluator's environment if it is ready, else None."""
    return _find(layout, Recipe.of_official(layout, name))


def ensure(layout: Layout, recipe: Recipe, *, say: Say) -> Environment:
    """A ready environment for a recipe, built if it is not there."""
    from admlops.environments.build import build

    return _find(layout, recipe) or build(layout, recipe, say=say)


def prefix_of(layout: Layout, recipe: Recipe, digest: str) -> Path:
    """Where an environment lives: name and beginning of the digest, so a new lock never changes an old prefix."""
    return layout.environments / f"{recipe.name}-{digest[:12]}"


def _find(layout: Layout, recipe: Recipe) -> Environment | None:
    from admlops.environments.interpreter import find_interpreter
    from admlops.errors import EnvError

    if not recipe.requirements.is_file():
        return None
    try:
        interpreter = find_interpreter(recipe.python)
    except EnvError:
        return None
    digest = recipe.digest(interpreter)
    return Environment.load(prefix_of(layout, recipe, digest), digest=digest)
