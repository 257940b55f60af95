"""Copies of a SQLite database in another folder, such as a pod's volume: the container's disk dies with the pod."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing, suppress
from pathlib import Path

from admlops.core.errors import StorageError
from admlops.core.storage import explain_os_error

EVERY_S = 5.0
"""How long one copy serves; the last one is always made."""


class Backup:
    """Copies a database after changes that matter, at most every `every_s` seconds.

    Args:
        file: the database's file; None for PostgreSQL, which has means of its own.
        folder: where copies go; None makes none.
    """

    def __init__(self, file: Path | None, folder: Path | None, *, every_s: float = EVERY_S) -> None:
        self._file = file
        self._folder = folder
        self._every_s = every_s
        self._made = float("-inf")
        self._wanted = False

    def mark(self) -> None:
        """Note that something happened that is to be kept."""
        self._wanted = True

    def make_if_due(self, *, at_once: bool = False) -> Path | None:
        """Make a copy if something is to be kept and the last copy is old enough, or `at_once`; return its path.

        Raises:
            StorageError: the folder cannot be written; an earlier copy is as it was.
        """
        if self._file is None or self._folder is None or not self._wanted:
            return None
        if not at_once and time.monotonic() < self._made + self._every_s:
            return None
        self._made, self._wanted = time.monotonic(), False
        return back_up(self._file, self._folder)


def back_up(file: Path, folder: Path) -> Path:
    """Copy a SQLite database into `folder` under its own name, whole or not at all, and return the copy.

    It goes through SQLite's backup API, which reads one state while others write, and is then renamed into place.

    Raises:
        StorageError: the folder cannot be written.
    """
    target = folder / file.name
    part = folder / f".{file.name}.{threading.get_native_id()}.part"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.unlink(missing_ok=True)
        with closing(sqlite3.connect(file, timeout=30)) as source, closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")  # one file, that a network disk can hold
        part.replace(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    except sqlite3.Error as error:
        raise StorageError(
            f"{target} could not be written: {error}", hint=f"df -h {folder}   # free some space"
        ) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return target


def restore(copy: Path, file: Path) -> bool:
    """Put a copy where a database is to be, if none is there: a new pod begins with the old one's jobs.

    Returns:
        Whether it was put there.

    Raises:
        StorageError: it cannot be read or written.
    """
    if file.exists() or not copy.is_file():
        return False
    part = file.with_name(f".{file.name}.{os.getpid()}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(copy.read_bytes())
        for left in ("-wal", "-shm"):  # of a database that was removed: they are not of this one
            file.with_name(file.name + left).unlink(missing_ok=True)
        os.link(part, file)  # fails where another process was faster, which may have begun to write
    except FileExistsError:
        return False
    except OSError as error:
        raise explain_os_error(error, file) from error
    finally:
        with suppress(OSError):
            part.unlink()
    return True
