"""Data sets that lie elsewhere, linked into the repository's `data/`."""

from __future__ import annotations

from pathlib import Path

from admlops.core.errors import UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.storage import explain_os_error
from admlops.core.types import Planned
from admlops.datasets.base import open_data


def plan_link(layout: Layout, root: Path, name: str | None) -> Planned | None:
    """Return the link to make: its path, and the folder that it leads to; None if it is there.

    Raises:
        UsageError: the folder is missing, or the name is not valid or is taken.
        DataError: it holds no data set that is known.
    """
    folder = user_path(root).resolve()
    if not folder.is_dir():
        raise UsageError(f"{folder} is no folder", hint=f"ls -ld {folder}")
    open_data(folder)  # says what is wrong with it
    path = _path_of(layout, name or folder.name)
    if path.is_symlink() and path.resolve() == folder:
        return None
    if path.exists() or path.is_symlink():
        raise UsageError(f"{path} is there already", hint=f"admlops data link {folder} --name ANOTHER")
    if folder.is_relative_to(layout.data.resolve()):
        raise UsageError(f"{folder} is in {layout.data} already", hint="admlops data list")
    return Planned(action="link", target=str(path), detail=str(folder))


def make_link(step: Planned) -> None:
    """Make a planned link. Raises StorageError."""
    path = Path(step.target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.symlink_to(step.detail, target_is_directory=True)
    except OSError as error:
        raise explain_os_error(error, path) from error


def remove_link(layout: Layout, name: str, *, dry_run: bool) -> Planned:
    """Remove a link; what it leads to stays.

    Raises:
        UsageError: there is no such link, or it is a folder of its own.
    """
    path = _path_of(layout, name)
    if not path.is_symlink():
        what = "is a folder, not a link: it is left alone" if path.exists() else "is not there"
        raise UsageError(f"{path} {what}", hint="admlops data list")
    step = Planned(action="remove", target=str(path))
    if not dry_run:
        try:
            path.unlink()
        except OSError as error:
            raise explain_os_error(error, path) from error
    return step


def _path_of(layout: Layout, name: str) -> Path:
    if name != Path(name).name or name.startswith("."):
        raise UsageError(f"{name!r} is no name for a folder in data/", hint="pass --name nuscenes")
    return layout.data / name
