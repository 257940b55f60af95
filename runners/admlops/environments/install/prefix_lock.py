"""Holding a prefix while it is built, and the files in it that say whose it is."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from filelock import FileLock, Timeout

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error
from admlops.core.types import Say
from admlops.environments.prefix import SENTINEL, STATE_FILE

LOCK_TIMEOUT_S = 4 * 3600.0


class hold_prefix:  # noqa: N801 - reads as a verb at the call
    """Hold the lock of one prefix, `PREFIX.lock`; say so when another process has it."""

    def __init__(self, prefix: Path, say: Say) -> None:
        self._prefix, self._say = prefix, say
        self._lock = FileLock(prefix.with_name(prefix.name + ".lock"))

    def __enter__(self) -> None:
        try:
            self._prefix.parent.mkdir(parents=True, exist_ok=True)
            try:
                self._lock.acquire(timeout=0.1)
            except Timeout:
                self._say(f"another process is building {self._prefix.name}; waiting for it")
                self._lock.acquire(timeout=LOCK_TIMEOUT_S)
        except Timeout as error:
            raise EnvError(
                f"another process has been building {self._prefix} for over {LOCK_TIMEOUT_S / 3600:.0f} hours",
                hint=f"see what holds it: fuser {self._lock.lock_file}",
            ) from error
        except OSError as error:
            raise explain_os_error(error, self._prefix) from error

    def __exit__(self, *_: object) -> None:
        self._lock.release()


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
                raise EnvError(f"{prefix} exists and admlops did not make it", hint=f"mv {prefix} {prefix}.aside")
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


def disk_usage_bytes(folder: Path) -> int:
    """What a folder takes on its disk [bytes]; links are not followed."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            total += os.lstat(os.path.join(parent, name)).st_blocks * 512  # noqa: PTH118 - many thousand files
    return total
