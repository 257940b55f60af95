"""A PYTHONPATH with another Python's packages, or with modules that have the names of ours, breaks nothing."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from admlops.environments import Environment

ADMLOPS = Path(sys.executable).with_name("admlops")
BROKEN = "raise ImportError('this one is of another Python')\n"


@pytest.fixture
def foreign(tmp_path: Path) -> Path:
    """A folder as another Python's site-packages may be, with modules named like Python's own and like ours."""
    folder = tmp_path / "other" / "lib" / "python3.8" / "site-packages"
    for package in ("numpy", "click", "yaml", "msgspec", "pydantic", "admlops", "worker", "cv2"):
        (folder / package).mkdir(parents=True)
        (folder / package / "__init__.py").write_text(BROKEN)
    for module in ("signal", "typing", "random", "json", "logging", "shlex", "dataclasses", "string", "types"):
        (folder / f"{module}.py").write_text(BROKEN)
    return folder


def command(*words: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [ADMLOPS, *words], capture_output=True, text=True, check=False, env={**os.environ, **variables}
    )


@pytest.mark.parametrize("words", [("models", "list"), ("models", "show", "MapTR", "--json"), ("doctor", "--rules")])
def test_the_host_is_the_same_under_another_pythons_path(foreign: Path, words: tuple[str, ...]) -> None:
    expected = command(*words)
    assert expected.returncode == 0, expected.stderr
    found = command(*words, PYTHONPATH=f"{foreign}:relative:", PYTHONHOME="/nowhere", PYTHONSTARTUP="/nowhere")
    assert (found.returncode, found.stdout, found.stderr) == (0, expected.stdout, expected.stderr)


def test_an_encoding_that_is_asked_for_is_still_taken() -> None:
    shown = subprocess.run(
        [ADMLOPS, "--help"], capture_output=True, check=True, env={**os.environ, "PYTHONIOENCODING": "utf-16"}
    )
    assert "Usage: admlops" in shown.stdout.decode("utf-16")


def test_workers_are_the_same_under_another_pythons_path(
    foreign: Path, synthetic_root: Path, tmp_path: Path, groundplane_environment: Environment
) -> None:
    done = command(
        *("run", "GroundPlane", "--data", synthetic_root, "--limit", "1", "--device", "cpu"),
        PYTHONPATH=str(foreign),
        PYTHONHOME="/nowhere",
        ADMLOPS_REP_PATH=str(tmp_path / "repository"),
    )
    assert done.returncode == 0, done.stderr
    assert "1 sample ok, 0 failed" in done.stdout


def test_an_extension_on_the_path_is_still_found(tmp_path: Path) -> None:
    (tmp_path / "only_here.py").write_text("print('found')\n")
    code = "from admlops.cli.start import _put_others_last; _put_others_last(); import only_here"
    shown = subprocess.run(
        [sys.executable, "-E", "-c", code],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )
    assert shown.stdout == "found\n", shown.stderr
