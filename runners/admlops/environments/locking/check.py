"""Checking without a network that locks still answer their inputs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import Version

from admlops.core.errors import EnvError
from admlops.environments.locking.python_inputs import PythonInputs
from admlops.environments.locking.python_lock import locked_digest
from admlops.environments.locking.variant_locks import VariantLocks
from admlops.environments.spec.conda_lock import describe_trust, read_conda_lock
from admlops.environments.spec.requirements import LockedPackage, read_lock
from admlops.environments.spec.torch_sources import explain_uncompiled


@dataclass(frozen=True, kw_only=True)
class LockCheck:
    """`problems` make the locks unusable or stale; `notes` are what a person should know before trusting them."""

    problems: tuple[str, ...]
    notes: tuple[str, ...]


def check_locks(locks: VariantLocks) -> LockCheck:
    """Return every problem and note of a variant's locks. Reads only files of the checkout."""
    problems: list[str] = []
    notes: list[str] = []
    checks = [_check_conda(locks, notes), *(_check_python(locks, file, notes) for file in locks.python_locks)]
    for check in (*checks, _check_strays(locks), _check_compiled(locks)):
        try:
            problems.extend(check)
        except EnvError as error:
            problems.append(error.message)
    return LockCheck(problems=tuple(dict.fromkeys(problems)), notes=tuple(notes))


def _check_conda(locks: VariantLocks, notes: list[str]) -> Iterator[str]:
    specification = locks.read_conda_inputs()
    if specification is None or locks.conda_lock is None:
        return
    lock = read_conda_lock(locks.conda_lock)
    if lock.content_hash != specification.content_hash or lock.channels != specification.channels:
        yield f"{locks.conda_lock} was made from another {specification.file.name} or {locks.virtual_packages.name}"
    names = {package.name for package in lock.packages} | {one.name for one in specification.virtual_packages}
    for wanted in specification.dependencies:
        if wanted.name not in names:
            yield f"{locks.conda_lock} lacks {wanted.name}, which {specification.file.name} asks for"
    for package in lock.packages:
        for missing in sorted({depend.split()[0] for depend in package.depends} - names):
            yield f"{locks.conda_lock} lacks {missing}, which {package.name} needs"
        if package.channel not in specification.channels:
            yield f"{locks.conda_lock} has {package.name} from {package.channel}, which is not among the channels"
    notes.extend(f"{locks.conda_lock}: {note}" for note in describe_trust(lock))


def _check_python(locks: VariantLocks, file: Path, notes: list[str]) -> Iterator[str]:
    inputs, lock = locks.read_inputs(file), locks.python_locks[file]
    packages = read_lock(lock)
    if locked_digest(lock) != inputs.digest:
        yield f"{lock} was made from another {file.name}, or for another Python than {locks.python}"
    yield from _compare(inputs, lock, packages)
    unknown = sorted(package.name for package in packages if package.hash_unknown)
    if unknown:
        notes.append(f"{lock}: nobody has recorded the sha256 of {', '.join(unknown)} yet")


def _compare(inputs: PythonInputs, lock: Path, packages: list[LockedPackage]) -> Iterator[str]:
    """Yield where a lock differs from what is asked for, and, where the list is closed, what else it has."""
    locked = {package.name: package for package in packages}
    for wanted in inputs.packages:
        found = [package for package in packages if package.name == wanted.name]
        if not found:
            yield f"{lock} lacks {wanted.name}, which {wanted.where} asks for"
        elif wanted.url != found[0].url or (wanted.sha256 and f"sha256:{wanted.sha256}" not in found[0].hashes):
            yield f"{lock} has another file of {wanted.name} than {wanted.where} names"
        elif wanted.url is None and not all(
            wanted.requirement.specifier.contains(Version(package.version), prereleases=True) for package in found
        ):
            yield f"{lock} has {wanted.name} {found[0].version}, but {wanted.where} asks for {wanted.requirement}"
    if inputs.closed:
        for name in sorted(locked.keys() - {wanted.name for wanted in inputs.packages}):
            yield f"{lock} has {name}, which {inputs.file.name} does not ask for"


def _check_strays(locks: VariantLocks) -> Iterator[str]:
    """Yield the locks that nothing stands behind."""
    folder = next(iter(locks.python_locks)).parent
    expected = {*locks.python_locks.values(), *([locks.conda_lock] if locks.conda_lock else [])}
    for lock in sorted({*folder.glob("requirements*.txt"), *folder.glob("conda-lock.yml")} - expected):
        yield f"{lock} has no input, or model.toml does not name it"


def _check_compiled(locks: VariantLocks) -> Iterator[str]:
    main = next(iter(locks.python_locks.values()))
    names = {package.name for package in read_lock(main)} if locks.compiled else set()
    uncompiled = explain_uncompiled(read_lock(main), locks.compiled)
    if uncompiled is not None:
        yield f"{main}: {uncompiled}"
    for name in locks.compiled:
        if canonicalize_name(name) not in names:
            yield f"{main} lacks {name}, which model.toml says is compiled"
