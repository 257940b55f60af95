"""Python interpreters that are already on this machine."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.paths import home_folder

MINOR_VERSIONS = range(15, 7, -1)
QUERY = (
    "import platform, sys; print(platform.python_version(), sys.platform + '-' + platform.machine(), sys.executable)"
)


@dataclass(frozen=True, kw_only=True)
class Interpreter:
    """A Python that runs: `version` as X.Y.Z, `platform` as linux-x86_64."""

    executable: Path
    version: str
    platform: str


@functools.cache
def find_interpreter(specifier: str) -> Interpreter:
    """Find the first interpreter whose version meets a PEP 440 specifier: the host's own, then PATH, then pyenv's.

    Raises:
        EnvError: there is none; the message lists those that were seen.
    """
    from packaging.specifiers import SpecifierSet

    wanted = SpecifierSet(specifier)
    seen = []
    for executable in _candidates():
        interpreter = _query(executable)
        if interpreter is None:
            continue
        if interpreter.version in wanted:
            return interpreter
        seen.append(interpreter.version)
    newest = next((f"3.{minor}" for minor in MINOR_VERSIONS if f"3.{minor}" in wanted), "3")
    raise EnvError(
        f"no Python {specifier} on this machine; seen: {', '.join(sorted(set(seen))) or 'none'}",
        hint=f"uv python install {newest}   # or: apt-get install python{newest} python{newest}-venv",
    )


def _candidates() -> Iterator[Path]:
    yield Path(getattr(sys, "_base_executable", sys.executable))
    for minor in MINOR_VERSIONS:
        found = shutil.which(f"python3.{minor}")
        if found:
            yield Path(found)
    for root in (home_folder() / ".pyenv" / "versions", home_folder() / ".local" / "share" / "uv" / "python"):
        yield from sorted(root.glob("*/bin/python3"), reverse=True)


@functools.cache
def _query(executable: Path) -> Interpreter | None:
    """Ask an interpreter what it is; None for a shim or a file that does not run."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    try:
        answer = subprocess.run(
            [executable, "-I", "-c", QUERY], capture_output=True, text=True, timeout=20, check=True, env=environment
        )
        version, platform, path = answer.stdout.strip().split(" ", 2)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    return Interpreter(executable=Path(path), version=version, platform=platform)
