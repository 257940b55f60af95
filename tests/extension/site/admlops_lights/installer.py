"""The installer: a virtual environment by Python's own `venv`, with nothing in it."""

from __future__ import annotations

import sys
import venv
from collections.abc import Collection, Sequence
from pathlib import Path

from admlops.environments.install.installer import FillContext, SizedPackage
from admlops.environments.install.venv import VenvInstaller
from admlops.environments.spec.environment_spec import EnvironmentSpec


class PlainBase:
    """The Python that runs admlops."""

    python_version = "{}.{}.{}".format(*sys.version_info)
    packages: Sequence[SizedPackage] = ()

    def describe(self) -> str:
        return f"a copy of Python {self.python_version}"

    def missing_bytes(self, cache: Path) -> int:
        return 0

    def fill(self, prefix: Path, context: FillContext, *, reinstall: Collection[str] = ()) -> None:
        venv.create(prefix, with_pip=False, symlinks=True)
        for link in prefix.glob("bin/python*"):
            link.unlink()
        (prefix / "bin" / "python").symlink_to(getattr(sys, "_base_executable", sys.executable))


class PlainInstaller(VenvInstaller):
    """As `venv`, without uv."""

    id = "plain"

    def identity(self, python_version: str) -> str:
        return f"plain {python_version}"

    def find_obstacle(self, spec: EnvironmentSpec, *, cache: Path) -> str | None:
        return None

    def prepare(self, spec: EnvironmentSpec) -> PlainBase:  # type: ignore[override]
        return PlainBase()

    def owns(self, path: str) -> bool:
        return super().owns(path) or path.startswith("bin/Activate")


INSTALLER = PlainInstaller()
