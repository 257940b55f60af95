"""`install/setup.sh` for real: a clone, a home and a large disk of the test's own, and the embedded model."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ROOT = find_layout().root


def run(clone: Path, home: Path, *command: str | Path) -> subprocess.CompletedProcess[str]:
    cache = os.environ.get("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))
    variables = {"HOME": str(home), "SHELL": "/bin/bash", "UV_CACHE_DIR": cache}
    leaking = ("ADMLOPS_PATH", "ADMLOPS_REP_PATH", "ADMLOPS_ENVIRONMENTS", "MAKEFLAGS", "MAKELEVEL")
    inherited = {name: value for name, value in os.environ.items() if name not in leaking}
    return subprocess.run(
        command, cwd=clone, capture_output=True, text=True, env={**inherited, **variables}, check=False
    )


@pytest.mark.full
@pytest.mark.timeout(900)
def test_a_clone_becomes_a_tool_that_runs_its_model(tmp_path: Path) -> None:
    clone, home, disk = tmp_path / "clone", tmp_path / "home", tmp_path / "disk"
    home.mkdir()
    disk.mkdir()
    if not (ROOT / ".git").exists() or shutil.which("make") is None:
        pytest.skip("needs a git checkout and make")
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    setup = ("./install/setup.sh", "--model", "GroundPlane", "--skip", "system", "--disk", disk)
    first = run(clone, home, *setup)
    if "index cannot be reached" in first.stderr + first.stdout:
        pytest.skip("needs the package index once")
    assert first.returncode == 0, first.stdout + first.stderr
    assert "environments   ready        GroundPlane" in first.stdout
    assert "nuScenes: register at" in first.stdout
    rc = (home / ".bashrc").read_text()
    assert f"export ADMLOPS_REP_PATH={disk}/admlops_repository" in rc
    again = run(clone, home, "make", "setup-GroundPlane")
    assert again.returncode == 0, again.stdout + again.stderr
    assert (home / ".bashrc").read_text() == rc, "the disk that was chosen is kept"
    checked = run(clone, home, "bash", "-c", "source ~/.bashrc && make test-GroundPlane")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "GroundPlane works" in checked.stdout
    assert list((disk / "admlops_repository" / "runs").glob("check-GroundPlane-*"))
    missing = run(clone, home, "make", "test-MapTR")
    assert missing.returncode == 2
    assert "admlops sources fetch MapTR" in missing.stderr
