"""A checkout with one small model, whose environments are built in a second or two from real locks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.conda_channel.channel import CondaChannel

from admlops.core.paths import Layout, find_layout

# `conda` has kernels for every GPU that the tests may meet.
MODEL = """
name = "Tiny"
summary = "Nothing but an environment."
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
python = ">=3.11"
installers = ["venv"]
requirements = "modern/requirements.txt"

[variants.bare]
python = ">=3.11"
installers = ["venv"]
requirements = "bare/requirements.txt"

[variants.conda]
python = ">=3.11,<3.12"
installers = ["conda"]
requirements = "conda/requirements.txt"
conda_lock = "conda/conda-lock.yml"
arch = ["sm_50", "sm_60", "sm_70", "sm_80", "sm_90", "sm_100", "sm_110", "sm_120"]
"""


def locked(name: str = "click") -> str:
    """The entry of one small package as the host's own lock has it."""
    lock = (find_layout().root / "requirements.txt").read_text()
    entry = re.search(rf"^{name}==.*?(?=^\S)", lock, re.DOTALL | re.MULTILINE)
    assert entry is not None
    return entry.group(0)


@dataclass(frozen=True, kw_only=True)
class SmallCheckout:
    """The checkout's folders, and the command in it."""

    layout: Layout
    variables: dict[str, str]

    @property
    def model(self) -> Path:
        return self.layout.envs / "Tiny"

    def prefix(self, variant: str) -> Path:
        (found,) = self.layout.environments.glob(f"Tiny-{variant}-{'[0-9a-f]' * 12}")
        return found

    def admlops(
        self, *arguments: str | Path, check: bool = True, variables: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the real command; `check` asks for success."""
        ended = subprocess.run(
            [sys.executable, "-m", "admlops", *map(str, arguments)],
            capture_output=True,
            text=True,
            timeout=120,
            env={**self.variables, **(variables or {})},
            stdin=subprocess.DEVNULL,
            check=False,
        )
        assert not check or ended.returncode == 0, ended.stdout + ended.stderr
        return ended


def make_checkout(root: Path, channel: CondaChannel) -> SmallCheckout:
    """Write the checkout; its variants are `modern` (click), `bare` (nothing) and `conda` (click on conda packages)."""
    layout = Layout(root=root, repository=root / "repository", environments=root / "environments")
    model = layout.envs / "Tiny"
    for variant in ("modern", "bare", "conda"):
        (model / variant).mkdir(parents=True)
        (model / variant / "requirements.txt").write_text("# nothing\n" if variant == "bare" else locked())
    (model / "model.toml").write_text(MODEL)
    (layout.envs / "activate").write_text((find_layout().envs / "activate").read_text())
    channel.write_lock(model / "conda" / "conda-lock.yml", ["gxx_linux-64", "libdemo"], python="3.11")
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ADMLOPS_")}
    folders = {
        "ADMLOPS_PATH": str(layout.root),
        "ADMLOPS_REP_PATH": str(layout.repository),
        "ADMLOPS_ENVIRONMENTS": str(layout.environments),
    }
    variables = {**inherited, **folders, **channel.mirror_variables(), "COLUMNS": "200"}
    variables["PATH"] = f"{Path(sys.executable).parent}:{inherited['PATH']}"
    return SmallCheckout(layout=layout, variables=variables)
