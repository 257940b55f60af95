"""Removes environments: only what admlops made, never one that a process is using, and never by halves."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from admlops.core.errors import EnvError, StorageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.environments.integrity.manifest import read_manifest
from admlops.environments.integrity.walking import disk_usage_bytes
from admlops.environments.inventory import is_ours, list_installed, list_replaced
from admlops.environments.prefix import lock_of
from admlops.environments.reuse.libraries import Libraries, is_library, library_name
from admlops.environments.reuse.packs import libraries_wanted

REMOVING_SUFFIX = ".removing"
LEGACY_ASIDE = ".aside"
"""The suffix of hidden folders in which admlops 0.1 kept removed environments."""


@dataclass(frozen=True, kw_only=True)
class User:
    """A process that uses an environment."""

    pid: int
    command: str


@dataclass(frozen=True, kw_only=True)
class Garbage:
    """Something that `collect` removed, would remove, or had to keep (`kept_because`)."""

    path: Path
    reason: str
    size_bytes: int
    kept_because: str | None = None


def users_of(prefix: Path) -> list[User]:
    """List the live processes that run from a prefix, were started in its environment, or have one of its files mapped.

    This process and those it was started by do not count: a person may remove what their shell has activated.
    """
    ours = {os.getpid(), *(parent.pid for parent in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        if process.pid in ours:
            continue
        with suppress(psutil.Error, OSError):
            if _uses(process, prefix):
                found.append(User(pid=process.pid, command=" ".join(process.cmdline()) or process.name()))
    return found


def _uses(process: psutil.Process, prefix: Path) -> bool:
    inside = f"{prefix}/"
    if process.exe().startswith(inside) or any(part.startswith(inside) for part in process.cmdline()[:1]):
        return True
    environment = process.environ()
    if str(prefix) in (environment.get("CONDA_PREFIX"), environment.get("VIRTUAL_ENV")):
        return True
    return inside in Path(f"/proc/{process.pid}/maps").read_text(errors="replace")


def check_unused(prefix: Path) -> None:
    """Refuse to change a prefix while a process uses it.

    Raises:
        EnvError: one does; names it.
    """
    users = users_of(prefix)
    if users:
        listed = "; ".join(f"{user.pid} ({user.command[:80]})" for user in users)
        raise EnvError(f"{prefix.name} is in use by process {listed}", hint=f"kill {users[0].pid}   # or wait for it")


@dataclass(frozen=True, kw_only=True)
class Removal:
    """The size of a removed environment, and what that freed [bytes]: libraries that others share stay on disk."""

    size_bytes: int
    freed_bytes: int


def remove(layout: Layout, prefix: Path) -> Removal:
    """Remove one environment. Libraries that other environments share, or that a stored pack will bring back, stay.

    Raises:
        EnvError: admlops did not make the folder, or a process uses it.
        StorageError: it cannot be removed, or another process is building or repairing it.
    """
    if prefix.parent != layout.environments or not is_ours(prefix):
        raise EnvError(f"{prefix} was not made by admlops; it is left alone", hint=f"ls -la {prefix}")
    check_unused(prefix)
    with hold(lock_of(prefix), what=f"removing {prefix.name}", say=_unsaid, timeout_s=0):
        size_bytes = disk_usage_bytes(prefix)
        freed_bytes = disk_usage_bytes(prefix, names_elsewhere=0)
        discard(prefix)
    freed_bytes += Libraries(layout.libraries).prune(libraries_wanted(layout.packs), used=_libraries_used(layout))
    return Removal(size_bytes=size_bytes, freed_bytes=freed_bytes)


def _libraries_used(layout: Layout) -> set[str]:
    """The shared libraries, by name, of the environments that are here and finished."""
    manifests = (read_manifest(one.prefix) for one in list_installed(layout))
    entries = (entry for manifest in manifests if manifest is not None for entry in manifest.entries)
    files = (entry for entry in entries if entry.kind == "file" and is_library(entry.path, entry.size_bytes))
    return {library_name(entry.content, entry.mode) for entry in files}


def _unsaid(line: str) -> None:
    """Tell nobody: the error names who has the lock."""


def discard(prefix: Path) -> None:
    """Take a folder out of sight in one step, then remove it: cut short, it leaves nothing that looks whole."""
    hidden = prefix.with_name(f".{prefix.name.removeprefix('.').removesuffix(REMOVING_SUFFIX)}{REMOVING_SUFFIX}")
    try:
        if hidden.exists() and hidden != prefix:
            _delete(hidden)
        prefix.rename(hidden)
        _delete(hidden)
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _delete(folder: Path) -> None:
    def make_writable(function: Callable[..., object], path: str, _: object) -> None:
        Path(path).parent.chmod(0o700)
        function(path)

    shutil.rmtree(folder, onerror=make_writable)


def collect(layout: Layout, *, wheels: bool, replaced: bool, dry_run: bool) -> list[Garbage]:
    """Remove environments that no lock asks for, builds that failed or were cut short, and what removals left.

    Args:
        layout: where they are.
        wheels: also compiled wheels that no environment here was built with. They take long to build and outlive a
            pod's environments, so they are only removed on request.
        replaced: also the folders of what repairs replaced, which may be somebody's work.
        dry_run: say only what would go.
    """
    return [
        _collect_one(layout, *found, dry_run=dry_run) for found in _garbage(layout, wheels=wheels, replaced=replaced)
    ]


Nature = Literal["environment", "remains", "wheels", "libraries"]


def _garbage(layout: Layout, *, wheels: bool, replaced: bool) -> Iterator[tuple[Path, str, Nature]]:
    referenced: set[str] = set()
    installed = list_installed(layout)
    ready = {
        (one.name, one.details.get("device")) for one in installed if one.spec is not None and one.state == "ready"
    }
    for one in installed:
        if one.spec is None:
            yield one.prefix, "no lock asks for it any more", "environment"
        elif one.state == "building":
            yield one.prefix, "half-built, and its builder is gone", "environment"
        elif one.state != "ready" and (one.name, one.details.get("device")) in ready:
            yield one.prefix, "its build failed, and another environment of the same locks is ready", "environment"
        else:
            referenced |= set(one.details.get("wheels", ()))
    for folder in list_replaced(layout) if replaced else ():
        yield folder, "files that a repair replaced", "remains"
    for folder in sorted(layout.environments.glob(f".*{LEGACY_ASIDE}")):
        yield folder, "a removed environment that admlops 0.1 kept", "remains"
    for remains in sorted(layout.environments.glob(f".*{REMOVING_SUFFIX}")):
        yield remains, "the remains of a removal that was cut short", "remains"
    if wheels and layout.wheels.is_dir():
        for folder in sorted(layout.wheels.iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name not in referenced:
                yield folder, "no environment here was built with it", "wheels"
    if Libraries(layout.libraries).unused(libraries_wanted(layout.packs), used=_libraries_used(layout)):
        yield layout.libraries, "libraries that no environment and no stored pack here has", "libraries"


def _collect_one(layout: Layout, path: Path, reason: str, nature: Nature, *, dry_run: bool) -> Garbage:
    if nature == "libraries":
        return _collect_libraries(layout, reason, dry_run=dry_run)
    size = disk_usage_bytes(path, names_elsewhere=1 if path.parent == layout.environments else 0)
    try:
        if nature != "environment":
            if not dry_run:
                discard(path)
        elif dry_run:
            check_unused(path)
            with hold(lock_of(path), what=f"removing {path.name}", say=_unsaid, timeout_s=0):
                pass
        else:
            remove(layout, path)
    except (EnvError, StorageError) as error:
        return Garbage(path=path, reason=reason, size_bytes=size, kept_because=error.message)
    return Garbage(path=path, reason=reason, size_bytes=size)


def _collect_libraries(layout: Layout, reason: str, *, dry_run: bool) -> Garbage:
    libraries, wanted = Libraries(layout.libraries), libraries_wanted(layout.packs)
    used = _libraries_used(layout)
    size = sum(libraries.unused(wanted, used=used).values()) if dry_run else libraries.prune(wanted, used=used)
    return Garbage(path=layout.libraries, reason=reason, size_bytes=size)
