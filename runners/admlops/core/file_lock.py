"""One process at a time: a lock file that names its holder, and a wait that says for whom."""

from __future__ import annotations

import fcntl
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from admlops.core.errors import StorageError
from admlops.core.storage import explain_os_error
from admlops.core.types import Say

POLL_S = 0.05


@contextmanager
def hold(path: Path, *, what: str, say: Say, timeout_s: float | None = None) -> Iterator[None]:
    """Hold the lock file `path`, which exists only while it is held; a killed process releases it.

    While another process holds it, wait, and say once which one: "waiting for process 4711 on pod, which is
    building MapTR-modern". The holder writes its own `what` into the file.

    Args:
        path: the lock file.
        what: what this process is about to do, as "building MapTR-modern".
        say: told which process this waits for; not called if `timeout_s` is 0, because then nothing waits.
        timeout_s: how long to wait [s]; None waits for ever.

    Raises:
        StorageError: the folder cannot be written, or another process still has the lock after `timeout_s`.
    """
    try:
        descriptor = _acquire(path, what, say, timeout_s)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        yield
    finally:
        with suppress(OSError):
            path.unlink()
        os.close(descriptor)


def _acquire(path: Path, what: str, say: Say, timeout_s: float | None) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            _lock(descriptor, path, what, say, deadline)
            if is_at(path, descriptor):
                with suppress(OSError):  # a full disk: the lock holds all the same
                    os.truncate(descriptor, 0)
                    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n{what}".encode(), 0)
                return descriptor
        except BaseException:  # Ctrl-C too, while it waits
            os.close(descriptor)
            raise
        os.close(descriptor)  # the one that held it has removed it meanwhile: this lock guards nothing


def _lock(descriptor: int, path: Path, what: str, say: Say, deadline: float | None) -> None:
    if _try(descriptor):
        return
    holder = _describe_holder(descriptor, what)
    if deadline is None:
        say(f"waiting for {holder}")
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        return
    if time.monotonic() < deadline:
        say(f"waiting for {holder}")
    while not _try(descriptor):
        if time.monotonic() >= deadline:
            name = path.stem.lstrip(".")
            raise StorageError(f"{name} is in use: {holder}", hint=f"fuser {path}   # names the process")
        time.sleep(POLL_S)


def _try(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _describe_holder(descriptor: int, what: str) -> str:
    """Name the process that holds the lock, and what it says it is doing; `what` if it says nothing."""
    who, _, doing = os.pread(descriptor, 400, 0).decode("utf-8", "replace").partition("\n")
    return f"{who or 'another process'}, which is {doing or what}"


def is_at(path: Path, descriptor: int) -> bool:
    """Tell whether `path` names this open file."""
    try:
        return path.stat().st_ino == os.fstat(descriptor).st_ino
    except FileNotFoundError:
        return False
