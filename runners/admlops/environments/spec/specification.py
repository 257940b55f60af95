"""What an environment is asked to be: a name, a Python, locks, and what is compiled into it."""

from __future__ import annotations

import hashlib
import os
import sys
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Device
from admlops.environments.prefix import Backend
from admlops.environments.spec.interpreter import Interpreter

if TYPE_CHECKING:
    from admlops.catalog import Model

DIGEST_VERSION = "environment-3"
"""Part of every digest: raise it when the way of building changes what is built."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """An environment to be.

    `python` is a PEP 440 specifier; `requirements` are the hashed Python locks, installed together; `conda_lock` is
    None where there is none. `backends` stand in order of preference. `device` is None where one environment serves
    both. `compiled` names packages of the locks that are built from source, with `patches`, for the GPU architectures
    `arch`; `driver` is the NVIDIA driver that is needed. `smoke` are modules that must import.
    """

    name: str
    python: str
    requirements: tuple[Path, ...]
    model: str | None = None
    variant: str | None = None
    conda_lock: Path | None = None
    backends: tuple[Backend, ...] = ("venv",)
    device: Device | None = None
    compiled: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()
    driver: str | None = None
    patches: tuple[Path, ...] = ()
    smoke: tuple[str, ...] = ()

    @classmethod
    def of_model(cls, model: Model, variant: str | None = None, *, device: Device | None = None) -> Recipe:
        """The recipe of a model's variant for a device; the device has no say where one environment serves both.

        Raises:
            EnvError: the model has no such variant, or it has environments for devices and none was named.
        """
        chosen = variant or model.default_variant
        if chosen not in model.variants:
            raise EnvError(
                f"{model.name} has no variant {chosen!r}; it has {', '.join(model.variants)}",
                hint=f"admlops models show {model.name}",
            )
        pins = model.variants[chosen]
        if pins.devices and device not in pins.devices:
            raise EnvError(
                f"{model.name}'s variant {chosen} has environments for {' and '.join(pins.devices)}, not for {device}",
                hint=f"admlops env install {model.name} --variant {chosen} --device {pins.devices[0]}",
            )
        lock = model.folder / pins.requirements
        beside = lock.with_name(f"requirements-{device}.txt")
        return cls(
            name=f"{model.name}-{chosen}",
            model=model.name,
            variant=chosen,
            python=pins.python,
            requirements=(lock, beside) if pins.devices and beside.is_file() else (lock,),
            conda_lock=None if pins.conda_lock is None else model.folder / pins.conda_lock,
            backends=pins.backends,
            device=device if pins.devices else None,
            compiled=pins.compiled,
            arch=pins.arch,
            driver=pins.driver,
            patches=tuple(sorted((model.folder / "patches").rglob("*.patch"))),
            smoke=pins.smoke,
        )

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
        return cls(name=f"official-{name}", python=python, requirements=(folder / "requirements.txt",))

    def missing_lock(self, backend: Backend) -> Path | None:
        """A lock that this backend needs and that is not there, if any."""
        locks = [*self.requirements, *([self.conda_lock] if backend == "conda" and self.conda_lock else [])]
        return next((lock for lock in locks if not lock.is_file()), None)

    def digest(self, backend: Backend, interpreter: Interpreter | None = None) -> str:
        """The sha256 over all that decides what is built: two environments with one digest hold the same packages.

        `interpreter` is the machine's own Python that a `venv` environment stands on; a conda environment has its own.
        """
        base = "conda" if interpreter is None else f"{interpreter.version} {interpreter.platform}"
        locks = [*self.requirements, *([self.conda_lock] if backend == "conda" and self.conda_lock else [])]
        parts = [DIGEST_VERSION, self.name, backend, base, self.device or "", ",".join(self.compiled)]
        parts += [f"{path.name}\n{path.read_text()}" for path in locks]
        if self.compiled:
            parts.append(",".join(self.arch))
            parts += [f"{path.name}\n{path.read_text()}" for path in self.patches]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    def asks_for(self, state: Mapping[str, Any]) -> bool:
        """Whether a prefix with this state is what these locks ask for, on the interpreter that it stands on.

        The interpreter is the state's, not the one that a new environment would get: no interpreter is started, and a
        session with another PATH finds the environments that are there.
        """
        backend, version = state.get("backend"), str(state.get("python"))
        if backend not in self.backends or self.device != state.get("device") or self.missing_lock(backend):
            return False
        python = Interpreter(executable=Path(), version=version, platform=f"{sys.platform}-{os.uname().machine}")
        return self.digest(backend, None if backend == "conda" else python) == state.get("digest")
