"""What an environment is asked to be: a name, a Python, a lock."""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.environments.interpreter import Interpreter
from admlops.errors import EnvError
from admlops.paths import Layout

if TYPE_CHECKING:
    from admlops.catalog import Model

DIGEST_VERSION = "venv-2"
"""Part of every digest: raise it when the way of building changes what is built."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An environment to be: `python` is a PEP 440 specifier, `requirements` the hashed lock."""

    name: str
    python: str
    requirements: Path

    @classmethod
    def of_model(cls, model: Model, variant: str | None) -> Recipe:
        """The recipe of a model's variant. Raises EnvError for a variant that the model does not have."""
        chosen = variant or model.default_variant
        if chosen not in model.variants:
            raise EnvError(
                f"{model.name} has no variant {chosen!r}; it has {', '.join(model.variants)}",
                hint=f"admlops models show {model.name}",
            )
        pins = model.variants[chosen]
        return cls(name=f"{model.name}-{chosen}", python=pins.python, requirements=model.folder / pins.requirements)

    @classmethod
    def of_official(cls, layout: Layout, name: str) -> Recipe:
        """The recipe of an official evaluator. Raises EnvError if `envs/official/<name>` is not one."""
        folder = layout.envs / "official" / name
        try:
            settings = tomllib.loads((folder / "environment.toml").read_text())
            python = str(settings["python"])
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise EnvError(
                f"{folder / 'environment.toml'} does not state `python`: {error}",
                hint=f"git checkout -- {folder}",
            ) from error
        return cls(name=f"official-{name}", python=python, requirements=folder / "requirements.txt")

    def digest(self, interpreter: Interpreter) -> str:
        """The sha256 over the lock and the interpreter: two environments with one digest hold the same packages."""
        parts = (DIGEST_VERSION, interpreter.version, interpreter.platform, self.requirements.read_text())
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()
