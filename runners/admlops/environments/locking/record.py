"""Completes locks on a machine with a network: fetches what they name once and writes down what that shows.

Conda packages whose channel publishes only an md5 get their sha256, sizes that no record told are filled in, and the
lock is marked as confirmed. Wheels that are named by their address get the sha256 that nobody knew.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.storage import file_sha256
from admlops.core.types import ProgressWatch, Say, unwatched
from admlops.downloads import download
from admlops.environments.install.conda.archives import fetch_archives
from admlops.environments.install.python_packages import fetch_wheel, wheel_name, wheel_path
from admlops.environments.locking.variant_locks import VariantLocks
from admlops.environments.spec.conda_lock import CondaLock, CondaPackage, read_conda_lock, write_conda_lock
from admlops.environments.spec.requirements import read_lock, write_hashes

STALL_TIMEOUT_S = 60.0
ATTEMPTS = 5


def record_locks(locks: VariantLocks, *, cache: Path, say: Say, progress: ProgressWatch = unwatched) -> list[str]:
    """Complete a variant's locks. Returns what was written down, a line each. Archives stay in `cache` for installing.

    Raises:
        EnvError: a file that was fetched is not the one that a lock means.
        DownloadError: something cannot be fetched; the locks are as before.
    """
    recorded = []
    if locks.conda_lock is not None:
        recorded += _record_conda(locks.conda_lock, cache=cache, say=say, progress=progress)
    for lock in locks.python_locks.values():
        recorded += _record_wheels(lock, cache=cache, say=say)
    return recorded


def _record_conda(path: Path, *, cache: Path, say: Say, progress: ProgressWatch) -> list[str]:
    lock = read_conda_lock(path)
    archives = fetch_archives(
        lock.packages, cache=cache, say=say, progress=progress, stall_timeout_s=STALL_TIMEOUT_S, attempts=ATTEMPTS
    )
    complete = replace(
        lock, packages=tuple(_complete(package, archives[package.url]) for package in lock.packages), confirmed=True
    )
    if complete == lock:
        return []
    write_conda_lock(path, complete)
    return [f"{path}: {line}" for line in _differences(lock, complete)]


def _complete(package: CondaPackage, archive: Path) -> CondaPackage:
    """A package with the size and the sha256 of its archive, which has been checked against what was known."""
    size_bytes = archive.stat().st_size
    if package.size_bytes not in (None, size_bytes):
        raise EnvError(
            f"{package.url} has {size_bytes} bytes, but its channel's record said {package.size_bytes}",
            hint=f"admlops env lock MODEL   # asks the channel again, if {package.name} was replaced there",
        )
    return replace(package, size_bytes=size_bytes, sha256=package.sha256 or file_sha256(archive))


def _differences(before: CondaLock, after: CondaLock) -> list[str]:
    pairs = list(zip(before.packages, after.packages, strict=True))
    hashes = [new.name for old, new in pairs if old.sha256 != new.sha256]
    sizes = [new.name for old, new in pairs if old.size_bytes != new.size_bytes]
    lines = [f"confirmed: all {len(pairs)} packages were fetched and are what it says"] if not before.confirmed else []
    lines += [f"sha256 of {', '.join(hashes)}"] if hashes else []
    return lines + ([f"size of {', '.join(sizes)}"] if sizes else [])


def _record_wheels(lock: Path, *, cache: Path, say: Say) -> list[str]:
    """Fetch the wheels of a lock that are named by their address; write down the hashes that are not known yet."""
    for package in read_lock(lock):
        if package.url is not None and not package.hash_unknown:
            say(f"fetching {package.url}")
            fetch_wheel(package, cache, say)
    return [f"{lock}: sha256 of {name}" for name in sorted(learn_hashes(lock, cache=cache, say=say))]


def learn_hashes(lock: Path, *, cache: Path, say: Say) -> dict[str, str]:
    """Fetch the wheels of a lock whose hashes nobody has recorded, and write them down in it: name → sha256.

    Raises:
        DownloadError: one cannot be had; the lock is as before.
    """
    found = {}
    for package in read_lock(lock):
        if package.url is None or not package.hash_unknown:
            continue
        say(f"fetching {package.url}")
        fetched = download(package.url, cache / "wheels" / "unknown" / wheel_name(package), say=say)
        target = wheel_path(package, cache, fetched.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.path.replace(target)
        found[package.name] = fetched.sha256
    write_hashes(lock, found)
    return found
