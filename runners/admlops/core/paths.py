"""Where everything lives: one frozen value, made once from the checkout and the environment variables."""

from __future__ import annotations

import os
import shlex
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import UsageError

PACKAGE = Path(__file__).resolve().parents[1]
"""The folder of the package itself."""


@dataclass(frozen=True, kw_only=True)
class Layout:
    """The folders of one installation.

    `root` is the checkout, or the package's own folder where it is installed alone (`is_checkout`); `repository` holds
    the large files and may be on another disk; `environments` holds the built prefixes, which are many small files and
    want a local disk.
    """

    root: Path
    repository: Path
    environments: Path
    is_checkout: bool = True

    @property
    def checkout(self) -> Path:
        """The checkout, for what cannot be done without one.

        Raises:
            UsageError: the package is installed alone.
        """
        if not self.is_checkout:
            raise UsageError(
                f"this needs a checkout, which holds the models, and {self.root} is the package alone: it can "
                "evaluate, report, compare and export runs that exist",
                hint="export ADMLOPS_PATH=/path/to/a/checkout   # a git clone of admlops",
            )
        return self.root

    @property
    def envs(self) -> Path:
        """`envs/`: one folder per model, with everything that defines it. Raises UsageError, as `checkout`."""
        return self.checkout / "envs"

    @property
    def worker(self) -> Path:
        """`runners/worker/`: the code that runs inside model environments. Raises UsageError, as `checkout`."""
        return self.checkout / "runners" / "worker"

    @property
    def submodules(self) -> Path:
        """The models' own sources. Raises UsageError, as `checkout`."""
        return self.checkout / "submodules"

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
    def exported(self) -> Path:
        """Exported networks, with their manifests."""
        return self.repository / "exported"

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

    Where the package is installed alone, runs and caches go to `$XDG_DATA_HOME/admlops` (`~/.local/share/admlops`).

    Raises:
        UsageError: `ADMLOPS_PATH` does not hold a checkout, or one of the others names a folder whose parent is
            missing.
    """
    root = _find_checkout()
    if root is not None:
        repository, environments = root / "admlops_repository", root / ".environments"
    else:
        repository = data_home() / "admlops"
        environments = repository / "environments"
    return Layout(
        root=root or PACKAGE,
        repository=_folder("ADMLOPS_REP_PATH", repository),
        environments=_folder("ADMLOPS_ENVIRONMENTS", environments),
        is_checkout=root is not None,
    )


def _find_checkout() -> Path | None:
    """Return the checkout that `ADMLOPS_PATH` names, else the one that this file is in; None where it is in none."""
    named = os.environ.get("ADMLOPS_PATH")
    if not named:
        above = PACKAGE.parents[1]
        return above if (above / "envs").is_dir() and (above / "runners" / "admlops").is_dir() else None
    root = user_path(named).resolve()
    if not (root / "envs").is_dir():
        raise UsageError(
            f"ADMLOPS_PATH points at {root}, which has no envs/ folder",
            hint="export ADMLOPS_PATH=/path/to/the/admlops/checkout",
        )
    return root


def data_home() -> Path:
    """Return the XDG base directory of a user's data. The specification says to ignore a relative path."""
    named = os.environ.get("XDG_DATA_HOME", "")
    return Path(named) if Path(named).is_absolute() else home_folder() / ".local" / "share"


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
    """Return the folder that a variable names. It need not exist yet; its parent must.

    Otherwise a mistyped word or an unmounted disk would become a folder on the root's disk.
    """
    value = os.environ.get(variable)
    if not value:
        return default
    folder = user_path(value).resolve()
    if not _is_there(folder) and (folder.parent == Path("/") or not _is_there(folder.parent)):
        raise UsageError(
            f"{variable} points at {folder}, which is not there",
            hint=f"mkdir -p {shlex.quote(str(folder))}   # if it is meant; else correct {variable}, or mount its disk",
        )
    return folder


def _is_there(folder: Path) -> bool:
    try:
        return folder.exists()
    except OSError:
        return True  # whoever uses it says why it cannot be looked at
