"""What the tests of locks share: a small channel index, a checkout with one model, conda-lock's own environment."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.core.paths import Layout
from admlops.environments.locking.conda_inputs import PLATFORM

VIRTUAL_PACKAGES = """
subdirs:
  linux-64:
    packages:
      __unix: "0"
      __linux: "5.10"
      __archspec: "1 x86_64"
      __glibc: "2.35"
      __cuda: "12.0"
"""
MODEL = """
name = "Tiny"
summary = "Nothing but locks."
tasks = ["detection_3d"]
license = "MIT"
frame = "ego"
box_convention = "standard"
temporal = false
default_variant = "modern"
[source]
kind = "embedded"
[classes]
detection_3d = ["car"]
[variants.modern]
python = ">=3.11,<3.12"
installers = ["conda", "venv"]
requirements = "modern/requirements.txt"
conda_lock = "modern/conda-lock.yml"
compiled = ["ops"]
devices = ["cuda", "cpu"]
"""
WHEEL_URL = "https://files.example/whl/tinytorch-1.9.1%2Bcu111-cp311-cp311-linux_x86_64.whl"


def record(name: str, version: str, *, depends: Sequence[str] = (), build: str = "0", **more: Any) -> dict[str, Any]:
    """A package as a channel's index has it, with hashes of its file name."""
    file_name = f"{name}-{version}-{build}.conda".encode()
    hashes = {"sha256": hashlib.sha256(file_name).hexdigest(), "md5": hashlib.md5(file_name).hexdigest()}
    wanted = {"name": name, "version": version, "build": build, "build_number": int(build.split("_")[-1])}
    both = {**wanted, **hashes, "depends": list(depends), "subdir": PLATFORM, "size": 1000, **more}
    return {key: value for key, value in both.items() if value is not None}


def write_index(folder: Path, channels: Mapping[str, Sequence[dict[str, Any]]]) -> Path:
    """A folder of channels, each with the given records."""
    for channel, records in channels.items():
        for subdir in (PLATFORM, "noarch"):
            names = {
                f"{one['name']}-{one['version']}-{one['build']}.conda": one
                for one in records
                if one["subdir"] == subdir
            }
            index = {"info": {"subdir": subdir}, "packages": {}, "packages.conda": names}
            (folder / channel / subdir).mkdir(parents=True)
            (folder / channel / subdir / "repodata.json").write_text(json.dumps(index))
    return folder


def small_index(folder: Path) -> Path:
    """conda-forge with a Python, a compiler and something for newer machines; nvidia, which publishes no sha256."""
    forge = [
        record("python", "3.11.9", depends=["libc >=2", "tzdata", "__glibc >=2.17,<3.0.a0"], build="h1_0"),
        record("python", "3.12.1", depends=["libc >=2"], build="h1_0"),
        record("libc", "2.1", constrains=["oldlibc <1"], timestamp=1_700_000_000_000),
        record("libc", "2.2", depends=["__cuda >=99"]),
        record("tzdata", "2026a", subdir="noarch", noarch="generic"),
        record("nvcc", "12.0", build="h1_7"),
    ]
    return write_index(folder, {"conda-forge": forge, "nvidia/label/x": [record("nvcc", "11.8", sha256=None)]})


@dataclass(frozen=True, kw_only=True)
class LockCheckout:
    """A checkout with one model, `Tiny`, that has inputs and no locks yet."""

    root: Path
    index: Path

    @property
    def layout(self) -> Layout:
        return Layout(root=self.root, repository=self.root / "repository", environments=self.root / "environments")

    @property
    def variant(self) -> Path:
        return self.root / "envs" / "Tiny" / "modern"

    def admlops(
        self, *arguments: str | Path, check: bool = True, variables: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real command; `check` asks for success."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ADMLOPS_", "UV_"))}
        folders = {"ADMLOPS_PATH": str(self.root), "ADMLOPS_REP_PATH": str(self.root / "repository")}
        ended = subprocess.run(
            [sys.executable, "-m", "admlops", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**inherited, **folders, **(variables or {})},
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        assert "Traceback" not in ended.stderr, ended.stderr
        return ended


def make_checkout(root: Path) -> LockCheckout:
    """Write the checkout and a small index."""
    variant = root / "envs" / "Tiny" / "modern"
    variant.mkdir(parents=True)
    (root / "envs" / "common").mkdir()
    (root / "envs" / "common" / "virtual-packages.yml").write_text(VIRTUAL_PACKAGES)
    (root / "envs" / "common" / "shared.in").write_text("wheelish==1.0  # a comment\n\n")
    (variant.parent / "model.toml").write_text(MODEL)
    (variant / "environment.yml").write_text(
        "channels: [nvidia/label/x, conda-forge]\nplatforms: [linux-64]\n"
        "dependencies:\n  - python 3.11.*  # a comment\n  - nvcc 11.*\n"
    )
    (variant / "requirements.in").write_text("-r ../../common/shared.in\nops==2.0\n")
    (variant / "requirements-cuda.in").write_text(f"tinytorch @ {WHEEL_URL}\n")
    return LockCheckout(root=root, index=small_index(root / "index"))
