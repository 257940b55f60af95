"""The archives of a conda lock: found in the cache by their hash, or downloaded into it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from admlops.core.errors import EnvError
from admlops.core.types import Progress, ProgressWatch, Say
from admlops.downloads import download
from admlops.environments.install.conda.mirror import mirrored

if TYPE_CHECKING:
    from admlops.environments.spec.conda_lock import CondaPackage

DOWNLOADS_AT_ONCE = 8
READ_BYTES = 1 << 20


class _CancelledError(Exception):
    """Another package failed, so this download need not go on."""


def archive_path(package: CondaPackage, cache: Path) -> Path:
    """Where a package's archive lies in the cache: in a folder named by its hash, so that namesakes never collide."""
    if package.sha256:
        return cache / "conda" / package.sha256[:20] / package.file_name
    return cache / "conda" / f"md5-{package.md5}" / package.file_name


def check_hashes(packages: Sequence[CondaPackage]) -> None:
    """Refuse packages without a hash to check them against.

    Raises:
        EnvError: a package has neither sha256 nor md5.
    """
    bare = sorted(package.name for package in packages if not package.sha256 and not package.md5)
    if bare:
        raise EnvError(
            f"the conda lock has no hash for {', '.join(bare)}; nothing was downloaded",
            hint="admlops env lock MODEL   # writes a whole lock",
        )


def is_whole(package: CondaPackage, path: Path) -> bool:
    """Tell whether the archive is there and is, byte for byte, the one that the lock means."""
    try:
        with path.open("rb") as file:
            if package.sha256:
                return hashlib.file_digest(file, "sha256").hexdigest() == package.sha256
            # Some channels publish nothing better; the lock names these packages one by one.
            return hashlib.file_digest(file, partial(hashlib.md5, usedforsecurity=False)).hexdigest() == package.md5
    except OSError:
        return False


def not_cached(packages: Sequence[CondaPackage], *, cache: Path) -> list[CondaPackage]:
    """The packages that have no archive in the cache yet."""
    return [package for package in packages if not archive_path(package, cache).is_file()]


def fetch_archives(
    packages: Sequence[CondaPackage],
    *,
    cache: Path,
    say: Say,
    progress: ProgressWatch,
    stall_timeout_s: float,
    attempts: int,
) -> dict[str, Path]:
    """The archive of each package by its URL, downloaded where the cache has none or another one.

    Raises:
        DownloadError: a package cannot be had, or is not the one that the lock means.
        StorageError: the cache cannot be written, or its disk is full.
    """
    tally = _Tally(packages, progress)
    fetch = partial(_fetch, cache=cache, say=say, tally=tally, stall_timeout_s=stall_timeout_s, attempts=attempts)
    with ThreadPoolExecutor(max_workers=DOWNLOADS_AT_ONCE, thread_name_prefix="download") as pool:
        # The largest first: the others then fill the time that it takes.
        ordered = sorted(packages, key=lambda package: -(package.size_bytes or 0))
        futures = {package.url: pool.submit(fetch, package) for package in ordered}
        try:
            done, _ = wait(futures.values(), return_when=FIRST_EXCEPTION)
            failures = [failure for future in done if (failure := future.exception()) is not None]
        finally:
            tally.cancelled.set()
            pool.shutdown(wait=False, cancel_futures=True)
    for failure in failures:
        if not isinstance(failure, _CancelledError):
            raise failure
    return {url: future.result() for url, future in futures.items()}


def _fetch(
    package: CondaPackage, *, cache: Path, say: Say, tally: _Tally, stall_timeout_s: float, attempts: int
) -> Path:
    path = archive_path(package, cache)
    if is_whole(package, path):
        tally.add(package, path.stat().st_size)
        return path
    if path.exists():
        say(f"{package.file_name} in the cache is not what the lock means; it is downloaded again")
        path.unlink(missing_ok=True)
    download(
        mirrored(package.url),
        path,
        sha256=package.sha256,
        # With a hash the size adds nothing; only without it is a web page in the file's place recognised.
        size_bytes=None if package.sha256 else package.size_bytes,
        progress=lambda done, total: tally.advance(package, done),
        say=say,
        stall_timeout_s=stall_timeout_s,
        attempts=attempts,
    )
    if not package.sha256 and not is_whole(package, path):
        path.unlink(missing_ok=True)
        raise EnvError(
            f"{package.url} is another file than the lock means: its md5 is not {package.md5}",
            hint="do not use it; see whether the channel replaced the package, and only then lock again",
        )
    return path


class _Tally:
    """Adds up what the downloads report, and stops them when one has failed."""

    def __init__(self, packages: Sequence[CondaPackage], progress: ProgressWatch) -> None:
        sizes = [package.size_bytes for package in packages]
        self._total = None if None in sizes else sum(size or 0 for size in sizes)
        self._done = {package.url: 0 for package in packages}
        self._progress, self._lock = progress, threading.Lock()
        self.cancelled = threading.Event()

    def advance(self, package: CondaPackage, done: int) -> None:
        if self.cancelled.is_set():
            raise _CancelledError
        self.add(package, done)

    def add(self, package: CondaPackage, done: int) -> None:
        with self._lock:
            self._done[package.url] = done
            self._progress(Progress(phase="download", done=sum(self._done.values()), total=self._total, unit="bytes"))
