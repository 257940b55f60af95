"""Where everything lives: one frozen value, made once from the checkout and the environment variables."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of one installation.

    `root` is the checkout; `repository` holds the large files and may be on another disk; `environments` holds the
    built prefixes, which are many small files and want a local disk.
    """

    root: Path
    repository: Path
    environments: Path

    @property
    def envs(self) -> Path:
        """`envs/`: one folder a model, everything that defines it."""
        return self.root / "envs"

    @property
    def worker(self) -> Path:
        """`runners/worker/`: the code that runs inside model environments."""
        return self.root / "runners" / "worker"

    @property
    def submodules(self) -> Path:
        return self.root / "submodules"

    @property
    def runs(self) -> Path:
        return self.repository / "runs"

    @property
    def data(self) -> Path:
        return self.repository / "data"

    @property
    def checkpoints(self) -> Path:
        return self.repository / "checkpoints"

    @property
    def wheels(self) -> Path:
        """Wheels of compiled ops, built once here."""
        return self.repository / "wheels"

    @property
    def libraries(self) -> Path:
        """The compiled libraries that environments share, on the environments' own disk."""
        return self.environments / ".libraries"

    @property
    def packs(self) -> Path:
        """Compressed archives of environments, which outlive the container disk."""
        return self.repository / "packs"


def find_layout() -> Layout:
    """The layout that `ADMLOPS_PATH`, `ADMLOPS_REP_PATH` and `ADMLOPS_ENVIRONMENTS` ask for, or the checkout's own.

    Raises:
        UsageError: `ADMLOPS_PATH` does not hold a checkout.
    """
    named = os.environ.get("ADMLOPS_PATH")
    root = user_path(named).resolve() if named else Path(__file__).resolve().parents[3]
    if not (root / "envs").is_dir():
        where = "ADMLOPS_PATH" if named else "the installed package"
        raise UsageError(
            f"{where} points at {root}, which has no envs/ folder",
            hint="export ADMLOPS_PATH=/path/to/the/admlops/checkout",
        )
    return Layout(
        root=root,
        repository=_folder("ADMLOPS_REP_PATH", root / "admlops_repository"),
        environments=_folder("ADMLOPS_ENVIRONMENTS", root / ".environments"),
    )


def user_path(text: str | Path) -> Path:
    """A path as a person wrote it, `~` included, made absolute.

    Raises:
        UsageError: it begins with `~` and there is no such home.
    """
    path = Path(text)
    try:
        return path.expanduser().absolute()
    except RuntimeError as error:
        raise UsageError(
            f"{path} names a home folder that is not known: HOME is not set and this user has none",
            hint="write the path in full, or export HOME=/a/folder",
        ) from error


def home_folder() -> Path:
    """Give the user's home folder; `/` where HOME is unset and the user has no entry in passwd, as in a container."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/")


def _folder(variable: str, default: Path) -> Path:
    value = os.environ.get(variable)
    return user_path(value).resolve() if value else default
