"""The README's commands, run in a fresh clone as a newcomer would type them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from admlops.core.paths import find_layout

ROOT = find_layout().root
README = (ROOT / "README.md").read_text()
REAL_DATA = "/workspace/nuscenes"
"""Where the README's examples have the user's own data; the test has its synthetic data there instead."""


def blocks() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    target = tmp_path_factory.mktemp("newcomer") / "admlops"
    cloned = subprocess.run(["git", "clone", "--quiet", ROOT, target], capture_output=True, check=False)
    if cloned.returncode:
        pytest.skip("needs a git checkout to clone")
    yield target
    shutil.rmtree(target.parent)  # more than a gigabyte: two environments, and the host's


def type_in(clone: Path, commands: str) -> str:
    """What a shell in the clone says to `commands`; fails at the first command that fails."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("ADMLOPS", "VIRTUAL_ENV"))}
    kept.setdefault("UV_CACHE_DIR", str(Path.home() / ".cache" / "uv"))  # what was downloaded once is not again
    kept["UV_COMPILE_BYTECODE"] = "0"  # of a gigabyte of packages, for the few that are imported here
    completed = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands],
        cwd=clone,
        env={**kept, "HOME": str(clone.parent)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    return completed.stdout


@pytest.mark.timeout(1500)
def test_the_readme_is_true(clone: Path) -> None:
    first, pod, steps, own_data, environments, catalogue = blocks()
    demo, test = [line.partition("#")[0].strip() for line in first.strip().splitlines()]
    assert (demo, test) == ("make demo", "make test")
    shown = type_in(clone, demo)
    report = re.search(r"report: +(\S+)", shown)
    assert report is not None, shown
    assert Path(report.group(1)).stat().st_size > 10_000
    assert "GroundPlane" in shown
    for command in (test, *pod.strip().splitlines()):
        planned = type_in(clone, command.partition("#")[0].replace("make ", "make --dry-run "))
        assert "pytest" in planned or "install/" in planned

    assert "first" in type_in(clone, steps), "the run called first is listed"
    activate = "source .venv/bin/activate\n"
    assert "GroundPlane" in type_in(clone, activate + catalogue)
    # The networks' sources, channels and weights are not everywhere; what is said of them holds for GroundPlane too.
    packed = type_in(clone, activate + environments.replace("MapTR", "GroundPlane"))
    assert "as its packages and lock say" in packed
    assert len(list((clone / "admlops_repository" / "packs").glob("GroundPlane-*.tar.zst"))) == 1
    own = clone.parent / "own"
    make_own = f"admlops data synthesize {own} --scenes 2 --samples 2 --scale 0.2 --camera-sweeps 0\n"
    type_in(clone, activate + make_own + own_data.replace(REAL_DATA, str(own)))


@pytest.mark.timeout(600)
def test_the_host_environment_is_made_once(clone: Path) -> None:
    type_in(clone, "./install/bootstrap.sh")
    stamp = clone / ".venv" / ".bootstrapped"
    made = stamp.stat().st_mtime_ns
    assert type_in(clone, "./install/bootstrap.sh") == ""
    assert stamp.stat().st_mtime_ns == made
    shown = type_in(clone, "source .venv/bin/activate && complete -p admlops && admlops --version")
    assert "_admlops_completion" in shown
    assert "admlops, version" in shown


def test_what_the_readme_links_to_is_there() -> None:
    links = re.findall(r"\]\(([^)#]+)\)", README)
    assert len(links) > 5
    assert [link for link in links if "://" not in link and not (ROOT / link).exists()] == []
