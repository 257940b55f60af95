"""Empties a prefix for a new build, and marks it as one that may be removed and rebuilt."""

from __future__ import annotations

import shutil
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error
from admlops.environments.prefix import SENTINEL, STATE_FILE


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
            _remove(prefix)
        prefix.mkdir(parents=True)
        (prefix / SENTINEL).write_text("removed and rebuilt by admlops; keep nothing of yours here\n")
    except OSError as error:
        raise explain_os_error(error, prefix) from error


def _remove(prefix: Path) -> None:
    """Remove all; the mark goes last, so that a removal that was killed can go on."""
    for entry in prefix.iterdir():
        if entry.name == SENTINEL:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink()
    shutil.rmtree(prefix)
