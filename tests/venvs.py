"""Virtual environments with the product's wheel and one of its extras, as a newcomer makes them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

OFFLINE = ("error sending request", "dns error", "failed to fetch", "connection", "timed out")


def make_venv(folder: Path, *packages: str | Path) -> Path:
    """Make an empty environment, put packages into it from the package index, and return its `bin`.

    The test is skipped where the index cannot be reached.
    """
    own = Path(sys.executable).parent / "uv"
    uv = str(own) if own.exists() else shutil.which("uv")
    assert uv is not None, "install/bootstrap.sh puts uv into .venv"
    variables = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"}
    commands: list[list[str | Path]] = [
        [uv, "venv", "--quiet", "--python", sys.executable, folder],
        [uv, "pip", "install", "--quiet", "--python", folder / "bin" / "python", *packages],
    ]
    for command in commands:
        done = subprocess.run(command, capture_output=True, text=True, env=variables, check=False)
        if done.returncode and any(word in done.stderr.lower() for word in OFFLINE):
            pytest.skip(f"needs the package index: {done.stderr.strip().splitlines()[-1]}")
        assert done.returncode == 0, done.stderr
    return folder / "bin"
