"""Remove a run: its folder, and the link to it where it lies on another disk."""

from __future__ import annotations

import shutil
import uuid
from pathlib import Path

from admlops.core.errors import StorageError
from admlops.core.storage import explain_os_error
from admlops.results.run_folder import RunFolder


def measure_bytes(run: RunFolder) -> int:
    """The size of all files of a run."""
    return sum(path.lstat().st_size for path in run.path.rglob("*") if not path.is_dir())


def check_removable(run: RunFolder) -> None:
    """Raise StorageError for a run that goes on, here or on another machine."""
    if run.observe_state() == "running":
        raise StorageError(
            f"{run.path.name} is running and is not removed",
            hint=f"admlops results show {run.path.name}   # until it ends",
        )


def remove_run(run: RunFolder) -> None:
    """Remove a run. It is renamed first, so that one that is half removed is no run any more.

    Raises:
        StorageError: it is running, in use by another process, or cannot be removed.
    """
    check_removable(run)
    folder = run.path.resolve()
    aside = folder.with_name(f".removed-{uuid.uuid4().hex[:8]}")
    with run.lock():
        check_removable(run)
        _rename(folder, aside)
    if run.path.is_symlink():
        run.path.unlink()
    try:
        shutil.rmtree(aside)
    except OSError as error:
        raise explain_os_error(error, aside) from error


def _rename(folder: Path, aside: Path) -> None:
    try:
        folder.rename(aside)
    except OSError as error:
        raise explain_os_error(error, folder) from error
