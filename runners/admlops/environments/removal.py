"""Removing environments: only what admlops made, never one that a process is using, and never by halves."""

from __future__ import annotations

import os
import shutil
import stat
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil
from filelock import FileLock, Timeout

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.environments.inventory import is_ours, list_installed
from admlops.environments.reuse.aside import aside_of, can_come_back, folders_aside, prefix_aside, set_aside
from admlops.environments.reuse.libraries import Libraries
from admlops.environments.reuse.packs import libraries_wanted

REMOVING_SUFFIX = ".removing"


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
    """The live processes that run from a prefix, were started in its environment, or have one of its files mapped.

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
class Removed:
    """What a removal freed and what it set aside [bytes]."""

    freed_bytes: int
    aside_bytes: int = 0


def remove(layout: Layout, prefix: Path, *, aside: bool = True) -> Removed:
    """Remove one environment.

    One that was ready is set `aside`: the next installation takes it back if its files are as they were, `collect`
    frees them. Otherwise libraries that other environments share, or that a stored pack will bring back, stay.

    Raises:
        EnvError: admlops did not make the folder, a process uses it, or another one is building it.
        StorageError: it cannot be removed.
    """
    if prefix.parent != layout.environments or not is_ours(prefix):
        raise EnvError(f"{prefix} was not made by admlops; it is left alone", hint=f"ls -la {prefix}")
    check_unused(prefix)
    with held(prefix):
        size = size_bytes(prefix)
        if aside and can_come_back(prefix):
            _set_aside(prefix)
            return Removed(freed_bytes=0, aside_bytes=size)
        if aside_of(prefix).exists():
            discard(aside_of(prefix))
        discard(prefix)
    return Removed(freed_bytes=size + Libraries(layout.libraries).prune(libraries_wanted(layout.packs)))


def _set_aside(prefix: Path) -> None:
    if aside_of(prefix).exists():
        discard(aside_of(prefix))
    try:
        set_aside(prefix)
    except OSError as error:
        raise explain_os_error(error, prefix) from error


@contextmanager
def held(prefix: Path) -> Iterator[None]:
    """Hold the lock that builders of a prefix take.

    Raises:
        EnvError: another process has it.
    """
    lock = FileLock(prefix.with_name(prefix.name + ".lock"))
    try:
        lock.acquire(timeout=0.1)
    except Timeout as error:
        raise EnvError(
            f"another process is building or repairing {prefix.name}", hint=f"fuser {lock.lock_file}   # names it"
        ) from error
    except OSError as error:
        raise explain_os_error(error, prefix) from error
    try:
        yield
    finally:
        lock.release()


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


def size_bytes(folder: Path, *, elsewhere: int = 0) -> int:
    """What is freed with a folder [bytes]: a file with more than `elsewhere` names outside of it does not count."""
    names_inside: Counter[tuple[int, int]] = Counter()
    total = 0
    for parent, folders, files in os.walk(folder):
        for name in (*files, *folders):
            with suppress(OSError):
                status = os.lstat(f"{parent}/{name}")
                if stat.S_ISREG(status.st_mode) and status.st_nlink > 1:
                    file = (status.st_dev, status.st_ino)
                    names_inside[file] += 1
                    if names_inside[file] != max(1, status.st_nlink - elsewhere):
                        continue
                total += status.st_blocks * 512
    return total


def collect(layout: Layout, *, wheels: bool, dry_run: bool) -> list[Garbage]:
    """Remove environments that no lock asks for, half-built ones whose builder is gone, and what removals left.

    Args:
        layout: where they are.
        wheels: also compiled wheels that no environment here was built with. They take long to build and outlive a
            pod's environments, so they are only removed on request.
        dry_run: say only what would go.
    """
    return [_collect_one(layout, *found, dry_run=dry_run) for found in _garbage(layout, wheels=wheels)]


Nature = Literal["environment", "aside", "remains", "wheels", "libraries"]


def _garbage(layout: Layout, *, wheels: bool) -> Iterator[tuple[Path, str, Nature]]:
    referenced: set[str] = set()
    for one in list_installed(layout):
        if one.recipe is None:
            yield one.prefix, "no lock asks for it any more", "environment"
        elif one.state == "building":
            yield one.prefix, "half-built, and its builder is gone", "environment"
        else:
            referenced |= set(one.details.get("wheels", ()))
    for aside in folders_aside(layout):
        yield aside, "removed, and set aside for the next installation", "aside"
    for remains in sorted(layout.environments.glob(f".*{REMOVING_SUFFIX}")):
        yield remains, "the remains of a removal that was cut short", "remains"
    if wheels and layout.wheels.is_dir():
        for folder in sorted(layout.wheels.iterdir()):
            if folder.is_dir() and not folder.name.startswith(".") and folder.name not in referenced:
                yield folder, "no environment here was built with it", "wheels"
    if Libraries(layout.libraries).unused(libraries_wanted(layout.packs)):
        yield layout.libraries, "libraries that no environment and no stored pack here has", "libraries"


def _collect_one(layout: Layout, path: Path, reason: str, nature: Nature, *, dry_run: bool) -> Garbage:
    if nature == "libraries":
        return _collect_libraries(layout, reason, dry_run=dry_run)
    size = size_bytes(path, elsewhere=1 if nature in ("environment", "aside") else 0)
    try:
        if nature == "environment":
            check_unused(path)
            with held(path):
                pass
            if not dry_run:
                remove(layout, path, aside=False)
        elif nature == "aside":
            with held(prefix_aside(path)):
                if not dry_run:
                    discard(path)
        elif not dry_run:
            discard(path)
    except EnvError as error:
        return Garbage(path=path, reason=reason, size_bytes=size, kept_because=error.message)
    return Garbage(path=path, reason=reason, size_bytes=size)


def _collect_libraries(layout: Layout, reason: str, *, dry_run: bool) -> Garbage:
    libraries, wanted = Libraries(layout.libraries), libraries_wanted(layout.packs)
    size = sum(libraries.unused(wanted).values()) if dry_run else libraries.prune(wanted)
    return Garbage(path=layout.libraries, reason=reason, size_bytes=size)
