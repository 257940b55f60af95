"""The protocol of installers: how a prefix is filled with a Python and what it stands on.

An installer is one module and one registration. The built-in ones stand in `catalog.registries.INSTALLERS`; an
extension registers its own there, through the entry point group `admlops.extensions`, and a `model.toml` names it in
`installers`. What comes after it is the same for all: Python packages of the hashed locks, compiled operations, the
smoke test, the verification, the manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from admlops.catalog.registries import INSTALLERS
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import ProgressWatch, Say, unwatched
from admlops.environments.activation import Variables
from admlops.environments.install.options import AUTO
from admlops.environments.integrity.lock_comparison import LockedBasePackage
from admlops.environments.integrity.records import PackageRecord
from admlops.environments.integrity.verification import Difference
from admlops.environments.prefix import INSTALLER_KEY
from admlops.environments.spec.environment_spec import EnvironmentSpec

Compilers = Literal["prefix", "machine"]
"""Whose compilers build operations: the environment's own, or those of the machine's system folders."""


class SizedPackage(Protocol):
    """What the checks before an installation ask of a package."""

    @property
    def name(self) -> str: ...
    @property
    def size_bytes(self) -> int | None: ...
    @property
    def depends(self) -> Sequence[str]: ...


@dataclass(frozen=True, kw_only=True)
class FillContext:
    """What filling a prefix may use: folders, and whom to tell."""

    layout: Layout
    cache: Path
    say: Say
    progress: ProgressWatch = unwatched


class Base(Protocol):
    """What one environment will stand on, found out before anything is downloaded."""

    @property
    def python_version(self) -> str:
        """The version of the environment's Python, as X.Y.Z."""

    @property
    def packages(self) -> Sequence[SizedPackage]:
        """The packages that filling brings, for the checks of disk and C library; none if it brings none."""

    def describe(self) -> str:
        """Describe the base in a few words: "86 conda packages" or "Python 3.11.7 of this machine"."""

    def missing_bytes(self, cache: Path) -> int:
        """Sum the sizes of what must be downloaded, as far as they are known [bytes]."""

    def fill(self, prefix: Path, context: FillContext, *, reinstall: Collection[str] = ()) -> None:
        """Fill an empty prefix, or complete a filled one; `reinstall` names packages whose files differ.

        Raises:
            EnvError: a package cannot be installed.
            DownloadError: something cannot be fetched.
            StorageError: a folder cannot be written.
        """


@runtime_checkable
class Installer(Protocol):
    """How a prefix is filled; see `conda.installer` and `venv` for the two that are built in."""

    @property
    def id(self) -> str:
        """The id that it is registered under."""

    @property
    def compilers(self) -> Compilers:
        """Whose compilers build operations in its prefixes."""

    def identity(self, python_version: str) -> str:
        """State which facts of this machine decide what is built; they become part of the environment's digest."""

    def find_obstacle(self, spec: EnvironmentSpec, *, cache: Path) -> str | None:
        """Say why it cannot build this environment here, without downloading anything; None if it can."""

    def prepare(self, spec: EnvironmentSpec) -> Base:
        """Read the locks and find what the environment will stand on. Raises EnvError if a lock is not whole."""

    def locked_packages(self, spec: EnvironmentSpec) -> Sequence[LockedBasePackage] | None:
        """Read the packages that its own lock names; None if it has no such lock."""

    def compute_variables(self, prefix: Path) -> Variables:
        """Compute the variables that a process of the environment gets. Raises EnvError if that fails."""

    def read_packages(self, prefix: Path) -> Sequence[PackageRecord]:
        """Read its own packages with their files; Python packages with a dist-info may be left out."""

    def owns(self, path: str) -> bool:
        """Decide whether it puts a file at `path` (relative to the prefix) that no package lists."""

    def check_base(self, prefix: Path) -> Iterable[Difference]:
        """Find faults in what the prefix relies on outside itself."""


@dataclass(frozen=True, kw_only=True)
class ChosenBase:
    """An installer with the base that it prepared; `because` says why others were passed over."""

    installer: Installer
    base: Base
    because: tuple[str, ...] = field(default=())


def find_installer(identifier: str) -> Installer:
    """Find an installer by its id.

    Raises:
        UsageError: there is none, or what an extension registered lacks something of the protocol.
    """
    found = INSTALLERS.get(identifier)
    if not isinstance(found, Installer):
        lacking = sorted(name for name in dir(Installer) if not name.startswith("_") and not hasattr(found, name))
        raise UsageError(
            f"the installer {identifier!r} of an extension lacks {', '.join(lacking)}",
            hint="see the protocol in runners/admlops/environments/install/installer.py",
        )
    return found


def digest_of(spec: EnvironmentSpec, installer: Installer, python_version: str) -> str:
    """Hash what decides the environment that an installer builds of a specification on this machine."""
    return spec.digest(installer.id, installer.identity(python_version))


def choose_base(spec: EnvironmentSpec, choice: str, *, cache: Path) -> ChosenBase:
    """Prepare the base of an environment to be built.

    With `auto` the specification's installers are tried in its order of preference.

    Raises:
        EnvError: a lock is missing or not whole, or no installer works here; says why of each.
    """
    if choice != AUTO:
        if choice not in spec.installers:
            raise EnvError(
                f"{spec.name} cannot be built by {choice}; it can by {' and '.join(spec.installers)}",
                hint=f"admlops env install {spec.command_name} --installer {spec.installers[0]}",
            )
        return _prepare(spec, choice, ())
    obstacles: list[str] = []
    for identifier in spec.installers:
        obstacle = _find_obstacle(spec, identifier, cache)
        if obstacle is None:
            return _prepare(spec, identifier, tuple(obstacles))
        obstacles.append(obstacle)
    if all(spec.missing_lock(identifier) is not None for identifier in spec.installers):
        raise missing_lock_error(spec, spec.installers[-1])
    raise EnvError(
        f"{spec.name} cannot be built here: {'; '.join(obstacles)}",
        hint="check the network, then run the command again; or install the Python: uv python install",
    )


def _find_obstacle(spec: EnvironmentSpec, identifier: str, cache: Path) -> str | None:
    missing = spec.missing_lock(identifier)
    return (
        f"there is no {missing}" if missing is not None else find_installer(identifier).find_obstacle(spec, cache=cache)
    )


def _prepare(spec: EnvironmentSpec, identifier: str, because: tuple[str, ...]) -> ChosenBase:
    if spec.missing_lock(identifier) is not None:
        raise missing_lock_error(spec, identifier)
    installer = find_installer(identifier)
    return ChosenBase(installer=installer, base=installer.prepare(spec), because=because)


def missing_lock_error(spec: EnvironmentSpec, identifier: str) -> EnvError:
    """Explain that an environment has no lock yet."""
    return EnvError(
        f"{spec.name} is not set up: its lock {spec.missing_lock(identifier)} does not exist",
        hint="admlops models list   # shows which models can be set up here",
    )


def asks_for(spec: EnvironmentSpec, state: Mapping[str, Any]) -> bool:
    """Decide whether a prefix with this state is what a specification asks for, on the interpreter that it stands on.

    The interpreter is the state's, not the one that a new environment would get: no interpreter is started, and a
    session with another PATH finds the environments that are there.
    """
    identifier = str(state.get(INSTALLER_KEY))
    if spec.device != state.get("device") or identifier not in spec.installers:
        return False
    if spec.missing_lock(identifier) is not None or identifier not in INSTALLERS:
        return False
    return digest_of(spec, find_installer(identifier), str(state.get("python"))) == state.get("digest")
