"""Empties a prefix for a new build, and marks it as one that may be removed and rebuilt."""

from __future__ import annotations

import errno
import shutil
import time
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error
from admlops.environments.prefix import SENTINEL, STATE_FILE

PATIENCE_S = 10.0
"""How long the processes of a killed build may go on writing until they notice."""


def clear_prefix(prefix: Path) -> None:
    """Empty a prefix for a new build; refuse what admlops did not make.

    Raises:
        EnvError: the folder has files and no mark of ours.
        StorageError: it cannot be removed or made.
    """
    try:
        if prefix.exists():
            marked = (prefix / SENTINEL).is_file() or (prefix / STATE_FILE).is_file()
            if not marked and any(prefix.iterdir()):
                raise EnvError(f"{prefix} exists and admlops did not make it", hint=f"mv {prefix} {prefix}.mine")
            _remove_patiently(prefix)
        prefix.mkdir(parents=True)
        (prefix / SENTINEL).write_text("removed and rebuilt by admlops; keep nothing of yours here\n")
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _remove_patiently(prefix: Path) -> None:
    """Remove all; repeat where a process that a killed build left behind has written meanwhile."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return _remove(prefix)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or time.monotonic() >= deadline:
                raise
        time.sleep(0.1)


def _remove(prefix: Path) -> None:
    """Remove all; the mark goes last, so that a removal that was killed can go on."""
    for entry in prefix.iterdir():
        if entry.name == SENTINEL:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    if any(entry.name != SENTINEL for entry in prefix.iterdir()):
        raise OSError(errno.ENOTEMPTY, "files came while it was removed", str(prefix))
    shutil.rmtree(prefix)
