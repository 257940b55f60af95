"""Building an environment: at its final path, under a lock, with the state file written last.

This is the `venv` backend: a hashed lock into a virtual environment on an interpreter that is already there, by uv. The
`conda` backend will stand beside it, behind the same `build`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from filelock import FileLock, Timeout
from packaging.version import Version

from admlops.environments import prefix_of
from admlops.environments.interpreter import Interpreter, find_interpreter
from admlops.environments.lock import LockedPackage, read_lock
from admlops.environments.prefix import STATE_FILE, Environment, write_state
from admlops.environments.recipe import Recipe
from admlops.errors import EnvError, StorageError
from admlops.paths import Layout
from admlops.processes import Completed, run
from admlops.storage import explain_os_error

MIN_FREE_BYTES = 1_000_000_000
INSTALL_TIMEOUT_S = 3600.0
LOCK_TIMEOUT_S = 3600.0
SENTINEL = "made-by-admlops"
LIST_PACKAGES = """
import importlib.metadata, json
print(json.dumps([[d.metadata["Name"], d.version] for d in importlib.metadata.distributions()]))
"""

Say = Callable[[str], None]


def build(layout: Layout, recipe: Recipe, *, say: Say) -> Environment:
    """Build a recipe's environment, or wait for another process that is building it.

    Raises:
        EnvError: the lock is missing or not whole, a hash does not match, the index cannot be reached.
        StorageError: too little disk, or the folder cannot be written.
    """
    if not recipe.requirements.is_file():
        raise EnvError(
            f"{recipe.name} is not set up: its lock {recipe.requirements} does not exist",
            hint="admlops models list   # shows which models can be set up here",
        )
    packages = read_lock(recipe.requirements)
    interpreter = find_interpreter(recipe.python)
    digest = recipe.digest(interpreter)
    prefix = prefix_of(layout, recipe, digest)
    _check_disk(layout.environments)
    with _building(prefix, say):
        ready = Environment.load(prefix, digest=digest)
        if ready is None:
            _build_venv(prefix, recipe, packages, interpreter, digest, say)
            ready = Environment.load(prefix, digest=digest)
    if ready is None:
        raise EnvError(f"{prefix} was built but is not ready", hint=f"rm -r {prefix}   # then run the command again")
    return ready


def _build_venv(
    prefix: Path, recipe: Recipe, packages: list[LockedPackage], interpreter: Interpreter, digest: str, say: Say
) -> None:
    begun = time.monotonic()
    say(f"building {recipe.name}: Python {interpreter.version}, {len(packages)} locked packages, into {prefix}")
    _clear(prefix)
    uv = _find_uv()
    _checked(run([uv, "venv", "--quiet", "--python", interpreter.executable, prefix], timeout_s=120), recipe)
    (prefix / SENTINEL).write_text("removed and rebuilt by admlops; keep nothing of yours here\n")
    write_state(prefix, name=recipe.name, state="building", digest=digest, backend="venv", details={})
    python = prefix / "bin" / "python"
    if packages:
        _install(uv, python, recipe)
    _verify(python, packages, interpreter, recipe)
    details = {"python": interpreter.version, "lock": str(recipe.requirements), "built_s": time.monotonic() - begun}
    write_state(prefix, name=recipe.name, state="ready", digest=digest, backend="venv", details=details)
    say(f"built {recipe.name} in {details['built_s']:.1f} s")


def _install(uv: Path, python: Path, recipe: Recipe) -> None:
    # Copies, not hard links: a person who edits a file in the prefix must not change uv's cache with it.
    # Bytecode now, so that a worker starts quickly wherever the prefix cannot be written later.
    options = ["--quiet", "--require-hashes", "--no-deps", "--link-mode", "copy", "--compile-bytecode"]
    command: list[str | Path] = [uv, "pip", "install", *options, "--python", python, "-r", recipe.requirements]
    # uv's own settings reach uv, an index's credentials among them; they reach no model.
    settings = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    _checked(run(command, timeout_s=INSTALL_TIMEOUT_S, variables=settings), recipe)


def _verify(python: Path, packages: list[LockedPackage], interpreter: Interpreter, recipe: Recipe) -> None:
    """Every package of the lock that is for this interpreter is there, at its version, and nothing else is."""
    listed = _checked(run([python, "-I", "-c", LIST_PACKAGES], timeout_s=120), recipe)
    installed = {_normalise(name): Version(version) for name, version in json.loads(listed.stdout)}
    markers = {
        "python_version": ".".join(interpreter.version.split(".")[:2]),
        "python_full_version": interpreter.version,
        "implementation_version": interpreter.version,
    }
    wanted = {package.name: Version(package.version) for package in packages if package.applies_to(markers)}
    if installed != wanted:
        wrong = sorted(name for name in wanted.keys() | installed.keys() if wanted.get(name) != installed.get(name))
        raise EnvError(
            f"{recipe.name}: after the installation these differ from {recipe.requirements}: {', '.join(wrong)}",
            hint="run the command again; if it stays, the lock and the index disagree",
        )


def _checked(completed: Completed, recipe: Recipe) -> Completed:
    """`completed`, or an error that says what its failure means."""
    if completed.returncode == 0:
        return completed
    said = (completed.stderr or completed.stdout).strip()
    for pattern, meaning, hint in _MEANINGS:
        if re.search(pattern, said, re.IGNORECASE):
            raise EnvError(f"{recipe.name}: {meaning.format(lock=recipe.requirements)}\n{said}", hint=hint)
    raise EnvError(
        f"{recipe.name} could not be built:\n{said}", hint="run the command again; the text above is uv's own"
    )


_MEANINGS = (
    (
        "hash mismatch|hashes? .*not match",
        "a package's hash is not the one in {lock}; nothing of it was installed",
        "git checkout -- envs   # if the lock was edited; if it was not, do not trust the index you use",
    ),
    (
        "no space left",
        "the disk is full",
        "df -h .   # free some space, or export ADMLOPS_ENVIRONMENTS=/a/larger/disk",
    ),
    (
        "dns error|error sending request|connection|timed out|failed to fetch",
        "the package index cannot be reached",
        "check the network (or your proxy and index settings), then run the command again",
    ),
)


class _building:  # noqa: N801 - reads as a verb at the call
    """Hold the lock of one prefix; say so when another process has it."""

    def __init__(self, prefix: Path, say: Say) -> None:
        self._prefix, self._say = prefix, say
        self._lock = FileLock(prefix.with_name(prefix.name + ".lock"))

    def __enter__(self) -> None:
        try:
            self._prefix.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0.1)
            except Timeout:
                self._say(f"another process is building {self._prefix.name}; waiting for it")
                self._lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as error:
            raise EnvError(
                f"another process has been building {self._prefix} for over {LOCK_TIMEOUT_S / 60:.0f} minutes",
                hint=f"see what holds it: fuser {self._lock.lock_file}",
            ) from error
        except OSError as error:
            raise explain_os_error(error, self._prefix) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _clear(prefix: Path) -> None:
    """Remove what an interrupted build left; refuse what admlops did not make."""
    if not prefix.exists():
        return
    if not (prefix / SENTINEL).is_file() and not (prefix / STATE_FILE).is_file() and any(prefix.iterdir()):
        half_made = (prefix / "pyvenv.cfg").is_file()  # uv was killed before the sentinel was written
        if not half_made:
            raise EnvError(f"{prefix} exists and admlops did not make it", hint=f"mv {prefix} {prefix}.aside")
    shutil.rmtree(prefix)


def _check_disk(folder: Path) -> None:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    free = shutil.disk_usage(existing).free
    if free < MIN_FREE_BYTES:
        raise StorageError(
            f"{existing} has {free / 1e6:.0f} MB free; an environment needs at least {MIN_FREE_BYTES / 1e6:.0f} MB",
            hint="free some space, or export ADMLOPS_ENVIRONMENTS=/a/larger/disk",
        )


def _find_uv() -> Path:
    """uv beside the host's Python (bootstrap puts it there), else on PATH."""
    beside = Path(sys.executable).parent / "uv"
    found = beside if os.access(beside, os.X_OK) else shutil.which("uv")
    if found is None:
        raise EnvError("uv was not found beside the host's Python nor on PATH", hint="./install/bootstrap.sh")
    return Path(found)


def _normalise(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()
