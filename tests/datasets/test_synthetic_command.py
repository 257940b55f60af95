"""`admlops data synthesize` on the command line: what it prints, what it refuses, what it leaves alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = ("--scenes", "1", "--samples", "1", "--scale", "0.1", "--lidar-sweeps", "0", "--camera-sweeps", "0")


def run_command(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "admlops", "data", "synthesize", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_help_shows_an_example() -> None:
    done = run_command("--help")
    assert done.returncode == 0
    assert "Example:" in done.stdout
    assert "--seed" in done.stdout


def test_a_finished_data_set_is_left_alone_and_force_replaces(tmp_path: Path) -> None:
    target = tmp_path / "data"
    first = run_command(target, *SMALL, "--json")
    assert first.returncode == 0, first.stderr
    assert json.loads(first.stdout)["written"] is True
    stamp = (target / "synthetic.json").stat().st_mtime_ns
    again = run_command(target, *SMALL)
    assert again.returncode == 0
    assert "nothing was done" in again.stdout
    assert (target / "synthetic.json").stat().st_mtime_ns == stamp
    refused = run_command(target, *SMALL, "--seed", "7")
    assert refused.returncode == 2
    assert "--force" in refused.stderr
    replaced = run_command(target, *SMALL, "--seed", "7", "--force", "--json")
    assert replaced.returncode == 0, replaced.stderr
    assert json.loads((target / "synthetic.json").read_text())["options"]["seed"] == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--scenes", "11"), "--scenes"),
        (("--scenes", "0"), "--scenes"),
        (("--samples", "0"), "--samples"),
        (("--samples", "61"), "--samples"),
        (("--scale", "0"), "--scale"),
        (("--scale", "nan"), "--scale"),
        (("--seed", "-1"), "--seed"),
        (("--lidar-sweeps", "10"), "--lidar-sweeps"),
        (("--camera-sweeps", "-1"), "--camera-sweeps"),
        (("--samples", "many"), "--samples"),
    ],
)
def test_options_out_of_range_are_named(tmp_path: Path, arguments: tuple[str, ...], named: str) -> None:
    done = run_command(tmp_path / "data", *arguments)
    assert done.returncode == 2
    assert named in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("force", [(), ("--force",)])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, force: tuple[str, ...]) -> None:
    (tmp_path / "thesis.tex").write_text("mine")
    done = run_command(tmp_path, *SMALL, *force)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr
    assert "--force" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "mine"


def test_a_file_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("mine")
    done = run_command(tmp_path / "data", *SMALL, "--force")
    assert done.returncode == 2
    assert (tmp_path / "data").read_text() == "mine"


@pytest.mark.skipif(not Path("/proc/version").exists(), reason="needs /proc, a folder that even root cannot write to")
def test_an_unwritable_place_is_named() -> None:
    done = run_command("/proc/admlops-data", *SMALL)
    assert done.returncode == 2
    assert "/proc/admlops-data" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere; run the tests as another user")
def test_a_read_only_folder_is_named(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    done = run_command(tmp_path / "data", *SMALL)
    tmp_path.chmod(0o755)
    assert done.returncode == 2
    assert "ls -ld" in done.stderr
