"""The bash scripts: every bats file here, and shellcheck over every script of the checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ROOT = find_layout().root
HERE = Path(__file__).parent
SCRIPTS = sorted([*ROOT.glob("install/*.sh"), *ROOT.glob("runners/*.sh"), ROOT / ".ci" / "run"])


@pytest.mark.parametrize("file", sorted(HERE.glob("*.bats")), ids=lambda path: path.name)
def test_bats(file: Path) -> None:
    if shutil.which("bats") is None:
        pytest.skip("needs bats: apt-get install bats")
    completed = subprocess.run(["bats", "--tap", file], capture_output=True, text=True, check=False)
    assert completed.returncode == 0, completed.stdout + completed.stderr


def test_shellcheck() -> None:
    shellcheck = Path(sys.executable).parent / "shellcheck"
    files = [*SCRIPTS, *sorted(ROOT.glob("install/ssh/*.bash")), *sorted(HERE.glob("*.bats")), HERE / "helper.bash"]
    completed = subprocess.run([shellcheck, "-x", *files], capture_output=True, text=True, cwd=HERE, check=False)
    assert completed.returncode == 0, completed.stdout


@pytest.mark.parametrize("script", SCRIPTS[1:], ids=lambda path: path.name)
def test_every_script_can_be_run_and_has_help_with_an_example(script: Path) -> None:
    shown = subprocess.run([script, "--help"], capture_output=True, text=True, check=True).stdout
    assert "Usage: " in shown
    assert "Example:" in shown
