"""The inputs and locks of one variant: where they lie, and how all of them are made anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from admlops.core.counting import count_of
from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.environments.locking.conda_inputs import PLATFORM, CondaInputs, read_conda_inputs
from admlops.environments.locking.python_inputs import PythonInputs, read_python_inputs
from admlops.environments.locking.python_lock import lock_python
from admlops.environments.locking.solve import solve
from admlops.environments.spec.conda_lock import CondaLock, CondaPackage, read_conda_lock, write_conda_lock
from admlops.environments.spec.torch_sources import explain_uncompiled

if TYPE_CHECKING:
    from admlops.catalog import Model

Part = Literal["conda", "python"]


@dataclass(frozen=True, kw_only=True)
class VariantLocks:
    """One variant's files. `python_locks` are the locks by their inputs, `requirements.in` first."""

    layout: Layout
    model: str
    variant: str
    python: str
    compiled: tuple[str, ...]
    conda_lock: Path | None
    python_locks: Mapping[Path, Path]
    virtual_packages: Path

    @property
    def name(self) -> str:
        return f"{self.model}-{self.variant}"

    @property
    def environment_yml(self) -> Path | None:
        return None if self.conda_lock is None else self.conda_lock.with_name("environment.yml")

    def read_conda_inputs(self) -> CondaInputs | None:
        """Return what the variant asks of conda, or None if it asks nothing. Raises EnvError for a wrong file."""
        file = self.environment_yml
        return None if file is None else read_conda_inputs(file, self.virtual_packages)

    def read_inputs(self, file: Path) -> PythonInputs:
        """Return what one of its lists asks of Python. Raises EnvError for a wrong file."""
        return read_python_inputs(file, python=self.python)


def inputs_of(model: Model, variant: str) -> Path:
    """Name the `requirements.in` of a model's variant. Raises EnvError if the model has no such variant."""
    if variant not in model.variants:
        raise EnvError(
            f"{model.name} has no variant {variant!r}; it has {', '.join(model.variants)}",
            hint=f"admlops models show {model.name}",
        )
    return (model.folder / model.variants[variant].requirements).with_suffix(".in")


def locks_of(layout: Layout, model: Model, variant: str) -> VariantLocks:
    """The files of a model's variant.

    Raises:
        EnvError: the model has no such variant, or the variant has no `requirements.in`.
    """
    first = inputs_of(model, variant)
    pins = model.variants[variant]
    main = model.folder / pins.requirements
    inputs = [first, *(main.with_name(f"requirements-{device}.in") for device in pins.devices)]
    if not inputs[0].is_file():
        raise EnvError(f"{inputs[0]} does not exist: it is what {main.name} is made from", hint=f"write {inputs[0]}")
    return VariantLocks(
        layout=layout,
        model=model.name,
        variant=variant,
        python=pins.python,
        compiled=pins.compiled,
        conda_lock=None if pins.conda_lock is None else model.folder / pins.conda_lock,
        python_locks={file: file.with_suffix(".txt") for file in inputs if file.is_file()},
        virtual_packages=layout.envs / "common" / "virtual-packages.yml",
    )


def make_locks(
    locks: VariantLocks, *, index: str | None = None, parts: tuple[Part, ...] = ("conda", "python"), say: Say
) -> dict[Path, int]:
    """Make a variant's locks anew. Returns the number of packages by lock. What cannot be made stays as it was.

    Raises:
        EnvError: an input is wrong, or an index cannot be read or has nothing that answers.
    """
    made = {}
    specification = locks.read_conda_inputs()
    if "conda" in parts and locks.conda_lock is not None and specification is not None:
        made[locks.conda_lock] = _lock_conda(locks.conda_lock, specification, index)
        say(f"{locks.conda_lock}: {count_of(made[locks.conda_lock], 'package')}")
    for file, lock in locks.python_locks.items() if "python" in parts else ():
        command = f"admlops env lock {locks.model} --variant {locks.variant}"
        needs_closed = bool(locks.compiled)
        _check_torch_sources(locks, file)
        made[lock] = lock_python(
            locks.read_inputs(file), lock, layout=locks.layout, command=command, needs_closed=needs_closed
        )
        say(f"{lock}: {count_of(made[lock], 'package')}")
    return made


def _check_torch_sources(locks: VariantLocks, file: Path) -> None:
    reason = explain_uncompiled(locks.read_inputs(file).packages, locks.compiled)
    if reason is not None:
        command = f"admlops env lock {locks.model} --variant {locks.variant}"
        raise EnvError(f"{file}: {reason}", hint=f"{command}   # after that")


def _lock_conda(path: Path, specification: CondaInputs, index: str | None) -> int:
    before = _known(path)
    packages = tuple(_keep_what_was_recorded(package, before) for package in solve(specification, index=index))
    confirmed = {package.url for package in before.packages} if before and before.confirmed else set()
    lock = CondaLock(
        platform=PLATFORM,
        channels=specification.channels,
        packages=packages,
        content_hash=specification.content_hash,
        md5_only=_without_published_sha256(packages, before),
        confirmed=all(package.url in confirmed for package in packages),
    )
    write_conda_lock(path, lock)
    return len(packages)


def _known(path: Path) -> CondaLock | None:
    """The lock that is there, if it can be read."""
    try:
        return read_conda_lock(path)
    except EnvError:
        return None


def _keep_what_was_recorded(package: CondaPackage, before: CondaLock | None) -> CondaPackage:
    """The sha256 and the size that a download showed, where the channel tells neither."""
    for known in before.packages if before else ():
        if known.url == package.url and known.md5 == package.md5:
            return replace(
                package, sha256=package.sha256 or known.sha256, size_bytes=package.size_bytes or known.size_bytes
            )
    return package


def _without_published_sha256(packages: tuple[CondaPackage, ...], before: CondaLock | None) -> frozenset[str]:
    known = before.md5_only if before else frozenset()
    return frozenset(package.url for package in packages if package.sha256 is None or package.url in known)
