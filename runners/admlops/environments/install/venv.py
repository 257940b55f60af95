"""The installer `venv`: a virtual environment on a Python of this machine."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.environments.activation import Variables, isolating_variables, search_path_of
from admlops.environments.install.installer import Compilers, FillContext, SizedPackage
from admlops.environments.install.uv import checked, run_uv
from admlops.environments.integrity.records import PackageRecord
from admlops.environments.integrity.verification import Difference
from admlops.environments.spec.environment_spec import EnvironmentSpec
from admlops.environments.spec.interpreter import Interpreter, find_interpreter

MAKE_TIMEOUT_S = 120.0
OWN_FILES = frozenset(
    (
        *("bin/python", "bin/python3", "bin/activate_this.py", "bin/activate", "bin/deactivate.bat", "bin/pydoc.bat"),
        *(f"bin/activate.{shell}" for shell in ("bat", "csh", "fish", "nu", "ps1", "xsh")),
    )
)
"""What uv puts into a virtual environment."""
HOOKS = ("_virtualenv.pth", "_virtualenv.py")
"""What uv puts into the site-packages of one for an old Python."""


@dataclass(frozen=True, kw_only=True)
class VenvBase:
    """An interpreter of this machine."""

    interpreter: Interpreter
    packages: Sequence[SizedPackage] = ()

    @property
    def python_version(self) -> str:
        return self.interpreter.version

    def describe(self) -> str:
        return f"Python {self.interpreter.version} of this machine"

    def missing_bytes(self, cache: Path) -> int:
        return 0

    def fill(self, prefix: Path, context: FillContext, *, reinstall: Collection[str] = ()) -> None:
        options = ["--quiet", "--allow-existing", "--python", str(self.interpreter.executable)]
        checked(run_uv(["venv", *options, prefix], layout=context.layout, timeout_s=MAKE_TIMEOUT_S), prefix.name)


class VenvInstaller:
    """Makes virtual environments by uv; compilers are the machine's."""

    id = "venv"
    compilers: Compilers = "machine"

    def identity(self, python_version: str) -> str:
        return f"{python_version} {sys.platform}-{os.uname().machine}"

    def find_obstacle(self, spec: EnvironmentSpec, *, cache: Path) -> str | None:
        try:
            find_interpreter(spec.python)
        except EnvError as error:
            return error.message
        return None

    def prepare(self, spec: EnvironmentSpec) -> VenvBase:
        return VenvBase(interpreter=find_interpreter(spec.python))

    def locked_packages(self, spec: EnvironmentSpec) -> None:
        return None

    def compute_variables(self, prefix: Path) -> Variables:
        return isolating_variables() | {"PATH": search_path_of(prefix), "VIRTUAL_ENV": str(prefix)}

    def read_packages(self, prefix: Path) -> Sequence[PackageRecord]:
        return ()

    def owns(self, path: str) -> bool:
        folder, _, name = path.rpartition("/")
        return (
            path in OWN_FILES
            or path.startswith("bin/python3.")
            or (name in HOOKS and folder.endswith("/site-packages"))
        )

    def check_base(self, prefix: Path) -> Iterator[Difference]:
        """Compare `bin/python` with the interpreter that pyvenv.cfg names."""
        settings = prefix / "pyvenv.cfg"
        python = prefix / "bin" / "python"
        try:
            lines = (line.partition("=") for line in settings.read_text().splitlines())
            home = {name.strip(): value.strip() for name, _, value in lines}.get("home", "")
        except OSError:
            yield Difference(path="pyvenv.cfg", reason="is missing", kind="missing")
            return
        if not python.exists():
            yield Difference(path="bin/python", reason="is missing, or leads nowhere", kind="missing")
        elif python.resolve().parent != Path(home).resolve():
            reason = f"leads to {python.resolve()}; the environment was made for {home}"
            yield Difference(path="bin/python", reason=reason, kind="changed")


INSTALLER = VenvInstaller()
