"""One process at a time: a lock file that names its holder, and a wait that says for whom."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from admlops.core.storage import explain_os_error
from admlops.core.types import Say


@contextmanager
def hold(path: Path, *, what: str, say: Say) -> Iterator[None]:
    """Hold the lock file `path`, which exists only meanwhile; a process that is killed lets go by itself.

    While another process has it this waits, and says once who that is: "waiting for process 4711 …, which is `what`".

    Raises:
        StorageError: the folder cannot be written.
    """
    try:
        descriptor = _acquire(path, what, say)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, what: str, say: Say) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, what, say)
            if is_at(path, descriptor):
                with suppress(OSError):  # a full disk: the lock holds all the same
                    os.truncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
                return descriptor
        except BaseException:  # Ctrl-C too, while it waits
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one that held it has removed it meanwhile: this lock guards nothing


def _lock(descriptor: int, what: str, say: Say) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 200, 0).decode("utf-8", "replace") or "another process"
        say(f"waiting for {holder}, which is {what}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)


def is_at(path: Path, descriptor: int) -> bool:
    """Whether `path` names this open file."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
