"""The installer `conda`: the packages of a conda lock, compilers among them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.environments.activation import Variables
from admlops.environments.install.conda.activation import compute_variables
from admlops.environments.install.conda.archives import not_cached
from admlops.environments.install.conda.install import install_conda
from admlops.environments.install.conda.mirror import channels_answer
from admlops.environments.install.installer import Compilers, FillContext
from admlops.environments.integrity.records import PackageRecord, read_conda_records
from admlops.environments.integrity.verification import Difference
from admlops.environments.spec.conda_lock import CondaPackage, read_conda_lock
from admlops.environments.spec.environment_spec import EnvironmentSpec


@dataclass(frozen=True, kw_only=True)
class CondaBase:
    """The packages of a conda lock; `python_version` is that of its package python."""

    packages: tuple[CondaPackage, ...]
    python_version: str

    def describe(self) -> str:
        return f"{len(self.packages)} conda packages"

    def missing_bytes(self, cache: Path) -> int:
        return sum(package.size_bytes or 0 for package in not_cached(self.packages, cache=cache))

    def fill(self, prefix: Path, context: FillContext, *, reinstall: Collection[str] = ()) -> None:
        install_conda(
            prefix,
            self.packages,
            cache=context.cache,
            say=context.say,
            progress=context.progress,
            reinstall=sorted(reinstall),
        )


class CondaInstaller:
    """Installs conda packages by py-rattler; nothing of the machine but its kernel and C library takes part."""

    id = "conda"
    compilers: Compilers = "prefix"

    def identity(self, python_version: str) -> str:
        return "conda"

    def find_obstacle(self, spec: EnvironmentSpec, *, cache: Path) -> str | None:
        packages = self.locked_packages(spec)
        if not not_cached(packages, cache=cache):
            return None
        if channels_answer((package.url for package in packages), cache=cache):
            return None
        return "the host of the conda packages does not answer"

    def prepare(self, spec: EnvironmentSpec) -> CondaBase:
        packages = self.locked_packages(spec)
        python = next((package for package in packages if package.name == "python"), None)
        if python is None:
            lock = spec.installer_locks[self.id]
            raise EnvError(
                f"the conda lock {lock} has no package python, so an environment made of it would have none",
                hint=f"write python 3.11.* in {lock.with_name('environment.yml')}, then: "
                f"admlops env lock {spec.command_name}",
            )
        return CondaBase(packages=packages, python_version=python.version)

    def locked_packages(self, spec: EnvironmentSpec) -> tuple[CondaPackage, ...]:
        return read_conda_lock(spec.installer_locks[self.id]).packages

    def compute_variables(self, prefix: Path) -> Variables:
        return compute_variables(prefix)

    def read_packages(self, prefix: Path) -> Sequence[PackageRecord]:
        return read_conda_records(prefix)

    def owns(self, path: str) -> bool:
        return False

    def check_base(self, prefix: Path) -> tuple[Difference, ...]:
        return ()


INSTALLER = CondaInstaller()
