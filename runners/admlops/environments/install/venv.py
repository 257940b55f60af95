"""Python packages of hashed locks into a prefix, by uv: never more than the lock, never without its hashes."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.processes import Completed, run
from admlops.core.types import Progress, ProgressWatch, Say, unwatched
from admlops.doctor import diagnose
from admlops.downloads import download
from admlops.environments.install.caches import cache_folder, uv_settings
from admlops.environments.spec.requirements import LockedPackage, read_lock

INSTALL_TIMEOUT_S = 3600.0
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

    `reinstall` puts packages anew that are there already, from files fetched anew. `name` is the environment's and
    `locks` are its files, for messages.

    Raises:
        EnvError: a hash is unknown or does not match, the index cannot be reached, a source does not build.
        DownloadError: a wheel that is locked by its address cannot be had.
    """
    python = prefix / "bin" / "python"
    settings = dict(uv_settings(layout))
    lines = [_line(package, cache_folder(layout), say, progress) for package in packages]
    tools = [line for package, line in zip(packages, lines, strict=True) if package.name in BUILD_TOOLS]
    # Copies, not hard links: a person who edits a file in the prefix must not change uv's cache with it.
    # No bytecode: the smoke test imports what the model needs, and compiling all the rest takes ten times longer.
    options = ["--quiet", "--require-hashes", "--no-deps", "--link-mode", "copy"]
    if reinstall:
        options += ["--reinstall", *_forget([package.name for package in packages], settings)]
    watch = writes_of(progress)
    if len(tools) < len(lines) and tools:
        _install(python, tools, options, settings=settings, name=name, locks=locks, watch=watch)
        options = [*options, "--no-build-isolation"]
    if lines:
        _install(python, lines, options, settings=settings, name=name, locks=locks, watch=watch)


def install_wheels(prefix: Path, wheels: Iterable[Path], *, layout: Layout, name: str) -> None:
    """Install wheels that were built on this machine. Raises EnvError if one cannot be installed."""
    files = [str(wheel) for wheel in wheels]
    if files:
        options = ["--quiet", "--no-deps", "--link-mode", "copy", "--reinstall", "--offline"]
        command: list[str | Path] = [find_uv(), "pip", "install", *options, "--python", prefix / "bin" / "python"]
        checked(run([*command, *files], timeout_s=INSTALL_TIMEOUT_S, variables=uv_settings(layout)), name)


def _install(
    python: Path,
    lines: list[str],
    options: list[str],
    *,
    settings: Mapping[str, str],
    name: str,
    locks: Sequence[Path],
    watch: Callable[[int], None],
) -> None:
    with tempfile.TemporaryDirectory(prefix="admlops-") as folder:
        lock = Path(folder) / "requirements.txt"
        lock.write_text("".join(f"{line}\n" for line in lines))
        command: list[str | Path] = [find_uv(), "pip", "install", *options, "--python", python, "-r", lock]
        # All hashes are known, so a warm cache needs no index; where it lacks something, that is found out at once.
        offline = run([*command, "--offline"], timeout_s=INSTALL_TIMEOUT_S, variables=settings, watch=watch)
        if offline.returncode == 0:
            return
        # uv's own settings reach uv, an index's credentials among them; they reach no model.
        checked(run(command, timeout_s=INSTALL_TIMEOUT_S, variables=settings, watch=watch), name, locks)


def writes_of(progress: ProgressWatch) -> Callable[[int], None]:
    """Tells how much uv has written: into its cache as packages come, then into the prefix."""

    def watch(pid: int) -> None:
        with suppress(psutil.Error, OSError):  # it has just ended, or the kernel does not count
            written = psutil.Process(pid).io_counters().write_chars
            progress(Progress(phase="Python packages, written", done=written, total=None, unit="bytes"))

    return watch


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
            f"the lock does not know the sha256 of {_file_name(package)}; nobody has fetched and recorded it yet",
            hint="admlops env lock MODEL --record   # or install with --trust-first-use",
        )
    sha256 = package.hashes[0].removeprefix("sha256:")

    def watch(done: int, total: int | None) -> None:
        progress(Progress(phase=package.name, done=done, total=total, unit="bytes"))

    return download(package.url, _wheel_path(package, cache, sha256), sha256=sha256, progress=watch, say=say).path


def _wheel_path(package: LockedPackage, cache: Path, sha256: str) -> Path:
    return cache / "wheels" / sha256[:20] / _file_name(package)


def _file_name(package: LockedPackage) -> str:
    return unquote(urlsplit(package.url or "").path.rsplit("/", 1)[-1])


def learn_hashes(lock: Path, *, cache: Path, say: Say) -> dict[str, str]:
    """Fetch the wheels of a lock whose hashes nobody has recorded, and write them down in it: name → sha256.

    Raises:
        DownloadError: one cannot be had; the lock is as before.
    """
    from admlops.environments.locking.record import write_hashes

    found = {}
    for package in read_lock(lock):
        if package.url is None or not package.hash_unknown:
            continue
        say(f"fetching {package.url}")
        fetched = download(package.url, cache / "wheels" / "unknown" / _file_name(package), say=say)
        target = _wheel_path(package, cache, fetched.sha256)
        target.parent.mkdir(parents=True, exist_ok=True)
        fetched.path.replace(target)
        found[package.name] = fetched.sha256
    write_hashes(lock, found)
    return found


def trust_unknown(locks: Iterable[Path], *, layout: Layout, say: Say) -> list[str]:
    """Take the wheels whose hashes nobody has recorded as they come. Returns what was trusted, as `name sha256:…`."""
    trusted = []
    for lock in locks:
        for name, sha256 in learn_hashes(lock, cache=cache_folder(layout), say=say).items():
            say(f"{name} has sha256 {sha256}: trusted on first use, and written into {lock}")
            trusted.append(f"{name} sha256:{sha256}")
    return trusted


def _forget(names: list[str], settings: Mapping[str, str]) -> list[str]:
    """Drop packages from uv's cache, whose files may have been edited; options to go round it where that fails."""
    with suppress(EnvError):  # another uv may hold the cache for long
        if run([find_uv(), "cache", "clean", *names], timeout_s=CLEAN_TIMEOUT_S, variables=settings).returncode == 0:
            return []
    return ["--no-cache"]


def find_uv() -> Path:
    """uv beside the host's Python (bootstrap puts it there), else on PATH. Raises EnvError if there is none."""
    beside = shutil.which("uv", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("uv")
    if found is None:
        raise EnvError("uv was not found beside the host's Python nor on PATH", hint="./install/bootstrap.sh")
    return Path(found)


def checked(completed: Completed, name: str, locks: Sequence[Path] = ()) -> Completed:
    """`completed`, or an error that says what its failure means."""
    if completed.returncode == 0:
        return completed
    said = (completed.stderr or completed.stdout).strip()
    known = diagnose(said, phases=["install"])
    if known is not None:
        where = f" (the lock is {' and '.join(map(str, locks))})" if locks else ""
        raise EnvError(f"{name}: {known.cause}{where}\n{said}", hint=known.hint)
    raise EnvError(f"{name} could not be built:\n{said}", hint="run the command again; the text above is uv's own")
