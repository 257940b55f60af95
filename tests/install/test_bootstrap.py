"""`install/bootstrap.sh`: what it says when it cannot do its work. That it does, `test_readme.py` sees."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ROOT = find_layout().root
TOOLS = ("awk", "bash", "cat", "cut", "df", "dirname", "flock", "grep", "mkdir", "rm", "sha256sum", "tail")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """What bootstrap reads, in a folder of its own."""
    own = tmp_path / "checkout"
    own.mkdir()
    for name in ("requirements.txt", "pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, own)
    for name in ("install", "runners"):
        shutil.copytree(ROOT / name, own / name, ignore=shutil.ignore_patterns("__pycache__"))
    return own


@pytest.fixture
def tools(tmp_path: Path) -> Path:
    """A PATH of its own, without Python and uv, to which a test may add."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found is not None, tool
        (folder / tool).symlink_to(found)
    return folder


def add_script(tools: Path, name: str, text: str) -> None:
    (tools / name).unlink(missing_ok=True)
    (tools / name).write_text(f"#!/usr/bin/env bash\n{text}\n")
    (tools / name).chmod(0o755)


def bootstrap(
    checkout: Path, *arguments: str, variables: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [shutil.which("bash") or "bash", checkout / "install" / "bootstrap.sh", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, **(variables or {})},
        timeout=560,
        check=False,
    )


def refused(completed: subprocess.CompletedProcess[str], *words: str) -> None:
    assert completed.returncode == 2, completed.stdout + completed.stderr
    assert "→" in completed.stderr
    for word in words:
        assert word in completed.stderr


def test_help_and_an_unknown_option(checkout: Path) -> None:
    shown = bootstrap(checkout, "--help")
    assert shown.returncode == 0
    assert "Example:" in shown.stdout
    refused(bootstrap(checkout, "--nope"), "--nope", "--help")


def test_a_python_that_is_too_old(checkout: Path, tools: Path) -> None:
    add_script(tools, "python3", 'if [[ $1 == -V ]]; then echo "Python 3.8.18"; else exit 1; fi')
    refused(bootstrap(checkout, variables={"PATH": str(tools)}), "Python >= 3.11", "3.8.18", "apt-get install")
    assert not (checkout / ".venv").exists()


def test_a_full_disk(checkout: Path, tools: Path) -> None:
    (tools / "python3").symlink_to(sys.executable)
    add_script(tools, "df", "printf 'Filesystem 1M-blocks Used Available\\n/dev/x 1000 990 10\\n'")
    refused(bootstrap(checkout, variables={"PATH": str(tools)}), "10 MB free", "df -h")
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("home", [None, os.devnull])
def test_without_a_home_that_can_be_written_downloads_lie_with_the_large_files(
    checkout: Path, tools: Path, tmp_path: Path, home: str | None
) -> None:
    (tools / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    add_script(tools, "uv", f'printf "%s %s" "$UV_CACHE_DIR" "$PIP_CACHE_DIR" >{tmp_path}/caches; exit 1')
    leaving = ("HOME", "XDG_CACHE_HOME", "UV_CACHE_DIR", "PIP_CACHE_DIR", "ADMLOPS_REP_PATH")
    kept = {name: value for name, value in os.environ.items() if name not in leaving}
    variables = {**kept, "PATH": str(tools), **({} if home is None else {"HOME": home})}
    script = checkout / "install" / "bootstrap.sh"
    subprocess.run([shutil.which("bash") or "bash", script], capture_output=True, env=variables, check=False)
    cache = checkout / "admlops_repository" / "cache"
    assert (tmp_path / "caches").read_text() == f"{cache / 'uv'} {cache / 'pip'}"


@pytest.mark.parametrize(("wanted", "done"), [(None, "1"), ("0", "0")])
def test_packages_are_compiled_unless_a_variable_of_uv_says_no(
    checkout: Path, tools: Path, tmp_path: Path, wanted: str | None, done: str
) -> None:
    (tools / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    add_script(tools, "uv", f'[[ $1 == pip ]] || exit 0; printf "%s" "$UV_COMPILE_BYTECODE" >{tmp_path}/asked; exit 1')
    kept = {name: value for name, value in os.environ.items() if name != "UV_COMPILE_BYTECODE"}
    variables = {**kept, "PATH": str(tools), **({} if wanted is None else {"UV_COMPILE_BYTECODE": wanted})}
    script = checkout / "install" / "bootstrap.sh"
    subprocess.run([shutil.which("bash") or "bash", script], capture_output=True, env=variables, check=False)
    assert (tmp_path / "asked").read_text() == done


@pytest.mark.full
def test_an_index_that_cannot_be_reached(checkout: Path, tools: Path, tmp_path: Path) -> None:
    (tools / "python3").symlink_to(getattr(sys, "_base_executable", sys.executable))
    nowhere = "http://127.0.0.1:9/simple"
    variables = {"PATH": str(tools), "HOME": str(tmp_path), "PIP_INDEX_URL": nowhere, "UV_INDEX_URL": nowhere}
    variables |= {"PIP_RETRIES": "0", "PIP_NO_CACHE_DIR": "1", "PIP_CONFIG_FILE": os.devnull, "PIP_FIND_LINKS": ""}
    refused(bootstrap(checkout, variables=variables), "index cannot be reached")
    assert not (checkout / ".venv" / ".bootstrapped").exists()
