"""The specification of an environment: its name, its Python, its locks, and what is compiled into it."""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Device

if TYPE_CHECKING:
    from admlops.catalog import Model

GROUPS = {"official": "official evaluator", "tools": "tool environment"}
"""Folders of `envs/` whose folders are environments of no model: official evaluators, and what jobs add to a model's
own packages."""
DIGEST_VERSION = "environment-3"
"""Part of every digest: raise it when the way of building changes what is built."""


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec:
    """One environment, as the locks of a model's variant, of an official evaluator or of a tool specify it.

    `python` is a PEP 440 specifier; `requirements` are the hashed Python locks, installed together. `installers` are
    ids of `INSTALLERS` in order of preference, `installer_locks` the further lock of each that reads one. `device` is
    None where one environment serves both. `compiled` names packages of the locks that are built from source, with
    `patches`, for the GPU architectures `arch`; `driver` is the NVIDIA driver that is needed. `smoke` are modules that
    must import.
    """

    name: str
    python: str
    requirements: tuple[Path, ...]
    model: str | None = None
    variant: str | None = None
    installers: tuple[str, ...] = ("venv",)
    installer_locks: Mapping[str, Path] = field(default_factory=dict)
    device: Device | None = None
    compiled: tuple[str, ...] = ()
    arch: tuple[str, ...] = ()
    driver: str | None = None
    patches: tuple[Path, ...] = ()
    smoke: tuple[str, ...] = ()

    @classmethod
    def of_model(cls, model: Model, variant: str | None = None, *, device: Device | None = None) -> EnvironmentSpec:
        """Give the specification of a model's variant; `device` is ignored where one environment serves both.

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
            installers=pins.installers,
            installer_locks=pins.installer_locks,
            device=device if pins.devices else None,
            compiled=pins.compiled,
            arch=pins.arch,
            driver=pins.driver,
            patches=tuple(sorted((model.folder / "patches").rglob("*.patch"))),
            smoke=pins.smoke,
        )

    @classmethod
    def of_official(cls, layout: Layout, name: str) -> EnvironmentSpec:
        """Give the specification of an official evaluator. Raises EnvError if `envs/official/<name>` is none."""
        return cls.of_group(layout, "official", name)

    @classmethod
    def of_tool(cls, layout: Layout, name: str) -> EnvironmentSpec:
        """Give the specification of packages that jobs add. Raises EnvError if `envs/tools/<name>` is none."""
        return cls.of_group(layout, "tools", name)

    @classmethod
    def of_group(cls, layout: Layout, group: str, name: str) -> EnvironmentSpec:
        """Give the specification in `envs/<group>/<name>`, for one of GROUPS. Raises EnvError if there is none."""
        folder = layout.envs / group / name
        if not folder.is_dir():
            there = ", ".join(sorted(path.parent.name for path in folder.parent.glob("*/environment.toml")))
            raise EnvError(f"no {GROUPS[group]} is called {name!r}; there are: {there}", hint="admlops env list")
        try:
            settings = tomllib.loads((folder / "environment.toml").read_text())
            python = str(settings["python"])
        except (OSError, tomllib.TOMLDecodeError, KeyError) as error:
            raise EnvError(
                f"{folder / 'environment.toml'} does not state `python`: {error}",
                hint=f"git checkout -- {folder}",
            ) from error
        return cls(name=f"{group}-{name}", python=python, requirements=(folder / "requirements.txt",))

    def lock_files(self, installer: str) -> tuple[Path, ...]:
        """List the locks that an installer reads: the Python locks, then its own."""
        own = self.installer_locks.get(installer)
        return self.requirements if own is None else (*self.requirements, own)

    def missing_lock(self, installer: str) -> Path | None:
        """Find a lock that the installer needs and that does not exist."""
        return next((lock for lock in self.lock_files(installer) if not lock.is_file()), None)

    def digest(self, installer: str, base: str) -> str:
        """Hash all that decides what is built: two environments with one digest hold the same packages.

        Args:
            installer: the id of the installer that fills the prefix.
            base: what of this machine the environment stands on, as the installer's `identity` states it.
        """
        parts = [DIGEST_VERSION, self.name, installer, base, self.device or "", ",".join(self.compiled)]
        parts += _contents(self.lock_files(installer))
        if self.compiled:
            parts += [",".join(self.arch), *_contents(self.patches)]
        return hashlib.sha256("\0".join(parts).encode()).hexdigest()

    @property
    def command_name(self) -> str:
        """The name that a person types for it: `MapTR`, `official/nuscenes` or `tools/onnx`."""
        group, _, name = self.name.partition("-")
        return self.model or f"{group}/{name}"


def split_group(name: str) -> tuple[str, str] | None:
    """Split `official/nuscenes` or `tools/onnx` into group and name; None for the name of a model."""
    group, slash, rest = name.partition("/")
    return (group, rest) if slash and group in GROUPS else None


def _contents(files: Sequence[Path]) -> list[str]:
    return [f"{path.name}\n{path.read_text()}" for path in files]
