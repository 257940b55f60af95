"""RunPod's own clients and a tester of schemas, each in a place of its own, from locks with hashes."""

from __future__ import annotations

import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
from filelock import FileLock
from tests.venvs import make_venv

HERE = Path(__file__).parent
OFFLINE = ("ENOTFOUND", "EAI_AGAIN", "ECONNREFUSED", "ETIMEDOUT", "network")


def python_with(shared: Path, name: str) -> Path:
    """Return an interpreter that has what `name`.txt locks; made once a test run."""
    folder = shared / f"venv-{name}"
    with FileLock(shared / f"venv-{name}.lock"):
        if not (folder / "whole").exists():
            shutil.rmtree(folder, ignore_errors=True)
            make_venv(folder, "--require-hashes", "--requirements", HERE / f"{name}.txt")
            (folder / "whole").touch()
    return folder / "bin" / "python"


@cache
def node() -> str:
    """Return the Node program; skips the test where there is none."""
    found = shutil.which("node")
    if found is None:
        pytest.skip("needs Node.js 18 or later: apt-get install nodejs npm")
    return found


def folder_with_sdk(shared: Path) -> Path:
    """Return a folder whose node_modules has the JavaScript client, with this folder's scripts in it."""
    node()
    if shutil.which("npm") is None:
        pytest.skip("needs npm: apt-get install nodejs npm")
    folder = shared / "npm-runpod"
    with FileLock(shared / "npm-runpod.lock"):
        if not (folder / "node_modules").is_dir():
            folder.mkdir(exist_ok=True)
            for name in ("package.json", "package-lock.json", "use_runpod.mjs", "use_route.mjs"):
                shutil.copy(HERE / name, folder)
            done = subprocess.run(
                ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
                cwd=folder,
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode and any(word in done.stderr for word in OFFLINE):
                pytest.skip(f"needs npm's registry: {done.stderr.strip().splitlines()[0]}")
            assert done.returncode == 0, done.stderr
    return folder
