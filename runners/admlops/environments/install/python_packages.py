"""Installs Python packages of hashed locks into a prefix, by uv: never more than the lock, never without its hashes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Progress, ProgressWatch, Say, unwatched
from admlops.downloads import download
from admlops.environments.install.caches import cache_folder
from admlops.environments.install.own_copies import find_linked, give_own_copies
from admlops.environments.install.uv import checked, run_uv
from admlops.environments.integrity.walking import disk_usage_bytes
from admlops.environments.spec.requirements import LockedPackage

INSTALL_TIMEOUT_S = 3600.0
UNINSTALL_TIMEOUT_S = 300.0
CLEAN_TIMEOUT_S = 60.0
BUILD_TOOLS = frozenset(("pip", "setuptools", "wheel", "ninja"))
"""What source distributions are built with; it must be in the prefix first, as the lock has it."""


def install_python(
    prefix: Path,
    packages: Sequence[LockedPackage],
    *,
    layout: Layout,
    name: str,
    say: Say,
    progress: ProgressWatch = unwatched,
    locks: Sequence[Path] = (),
    reinstall: bool = False,
) -> None:
    """Install exactly these packages into the prefix's Python; what else is there stays.

    `reinstall` reinstalls packages that are there already, from files fetched anew. `name` is the environment's and
    `locks` are its files, for messages.

    Raises:
        EnvError: a hash is unknown or does not match, the index cannot be reached, a source does not build.
        DownloadError: a wheel that is locked by its address cannot be had.
    """
    lines = [_line(package, cache_folder(layout), say, progress) for package in packages]
    tools = [line for package, line in zip(packages, lines, strict=True) if package.name in BUILD_TOOLS]
    # Compiled libraries are links to uv's cache, where it is on this disk: 8 GB are there once. What a person might
    # edit is the prefix's own copy, so that the cache does not change with it.
    # No bytecode: the smoke test imports what the model needs, and compiling all the rest takes ten times longer.
    options = ["--quiet", "--require-hashes", "--no-deps", "--link-mode", "hardlink"]
    linked_before = {file.inode for file in find_linked(prefix)}
    if reinstall:
        options += ["--reinstall", *_forget([package.name for package in packages], layout)]
    install = partial(_install, prefix, layout=layout, name=name, locks=locks, watch=watch_prefix(prefix, progress))
    if len(tools) < len(lines) and tools:
        install(tools, options)
        options = [*options, "--no-build-isolation"]
    if lines:
        install(lines, options)
    give_own_copies(prefix, except_for=linked_before)


def install_wheels(prefix: Path, wheels: Iterable[Path], *, layout: Layout, name: str) -> None:
    """Install wheels that were built on this machine. Raises EnvError if one cannot be installed."""
    files = [str(wheel) for wheel in wheels]
    if files:
        options = ["--quiet", "--no-deps", "--link-mode", "copy", "--reinstall", "--offline"]
        command: list[str | Path] = ["pip", "install", *options, "--python", prefix / "bin" / "python", *files]
        checked(run_uv(command, layout=layout, timeout_s=INSTALL_TIMEOUT_S), name)


def uninstall(prefix: Path, packages: Sequence[str], *, layout: Layout, name: str) -> None:
    """Remove Python packages. Raises EnvError if one cannot be removed."""
    if packages:
        command: list[str | Path] = ["pip", "uninstall", "--quiet", "--python", prefix / "bin" / "python", *packages]
        checked(run_uv(command, layout=layout, timeout_s=UNINSTALL_TIMEOUT_S), name)


def _install(
    prefix: Path,
    lines: list[str],
    options: list[str],
    *,
    layout: Layout,
    name: str,
    locks: Sequence[Path],
    watch: Callable[[int], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix="admlops-") as folder:
        lock = Path(folder) / "requirements.txt"
        lock.write_text("".join(f"{line}\n" for line in lines))
        command: list[str | Path] = ["pip", "install", *options, "--python", prefix / "bin" / "python", "-r", lock]
        # All hashes are known, so a warm cache needs no index; where it lacks something, that is found out at once.
        offline = run_uv([*command, "--offline"], layout=layout, timeout_s=INSTALL_TIMEOUT_S, watch=watch)
        if offline.returncode != 0:
            checked(run_uv(command, layout=layout, timeout_s=INSTALL_TIMEOUT_S, watch=watch), name, locks)


def watch_prefix(prefix: Path, progress: ProgressWatch) -> Callable[[int], None]:
    """Return a function that tells how much is installed; while that stays, how much uv has fetched and unpacked.

    uv reports nothing to other programs, so it looks. Looking takes at most a twentieth of the time.
    """
    before = disk_usage_bytes(prefix)
    last = 0
    next_s = 0.0

    def watch(pid: int) -> None:
        nonlocal last, next_s
        begun = time.monotonic()
        if begun < next_s:
            return
        installed = disk_usage_bytes(prefix) - before
        phase, done = "Python packages, installed", installed
        if installed <= last:  # the tools of builds come first, and then minutes of downloads in which nothing is added
            phase, done = "Python packages, fetched and unpacked", _written_by(pid)
        last = max(last, installed)
        progress(Progress(phase=phase, done=done, total=None, unit="bytes"))
        next_s = time.monotonic() + 20 * (time.monotonic() - begun)

    return watch


def _written_by(pid: int) -> int:
    with suppress(psutil.Error, OSError):  # it has just ended, or the kernel does not count
        return int(psutil.Process(pid).io_counters().write_chars)
    return 0


def _line(package: LockedPackage, cache: Path, say: Say, progress: ProgressWatch) -> str:
    """The package as uv reads it: out of the index, or out of a file that was fetched from the lock's address."""
    wanted = str(package.requirement)
    if package.url is not None:
        marker = f" ; {package.requirement.marker}" if package.requirement.marker else ""
        wanted = f"{package.requirement.name} @ {fetch_wheel(package, cache, say, progress).as_uri()}{marker}"
    return " ".join([wanted, *(f"--hash={digest}" for digest in package.hashes)])


def fetch_wheel(package: LockedPackage, cache: Path, say: Say, progress: ProgressWatch = unwatched) -> Path:
    """The wheel that a lock names by its address. uv itself would begin these large files anew after each failure.

    Raises:
        EnvError: nobody has recorded its hash yet.
        DownloadError: it cannot be had, or is another file than the lock means.
    """
    assert package.url is not None
    if package.hash_unknown:
        raise EnvError(
            f"the lock does not know the sha256 of {wheel_name(package)}; nobody has fetched and recorded it yet",
            hint="admlops env lock MODEL --record   # fetches it once and writes its hash into the lock",
        )
    sha256 = package.hashes[0].removeprefix("sha256:")

    def watch(done: int, total: int | None) -> None:
        progress(Progress(phase=package.name, done=done, total=total, unit="bytes"))

    return download(package.url, wheel_path(package, cache, sha256), sha256=sha256, progress=watch, say=say).path


def wheel_path(package: LockedPackage, cache: Path, sha256: str) -> Path:
    return cache / "wheels" / sha256[:20] / wheel_name(package)


def wheel_name(package: LockedPackage) -> str:
    return unquote(urlsplit(package.url or "").path.rsplit("/", 1)[-1])


def _forget(names: list[str], layout: Layout) -> list[str]:
    """Drop packages from uv's cache, where files may have been edited; return options to bypass it if that fails."""
    with suppress(EnvError):  # another uv may hold the cache for long
        if run_uv(["cache", "clean", *names], layout=layout, timeout_s=CLEAN_TIMEOUT_S).returncode == 0:
            return []
    return ["--no-cache"]
