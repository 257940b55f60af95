"""Standard streams that work, or say in one sentence why they do not.

A program may be started with a closed stream (`>&-`, cron), with one on a full disk, or in a locale that cannot spell
what it prints. None of these is a defect of ours, and none may end in a traceback.
"""

from __future__ import annotations

import codecs
import errno
import io
import os
import sys
from typing import Any, TextIO

from admlops.core.errors import StorageError


class ReaderGoneError(Exception):
    """Whoever read standard output went away, as in `admlops results list | head`.

    It is no OSError, because click handles a broken pipe itself and ends with 1.
    """


class _CheckedFile(io.FileIO):
    """A standard stream's descriptor; what cannot be written is an error of ours."""

    written_bytes = 0

    def write(self, data: Any) -> int:
        try:
            count = super().write(data)
        except BrokenPipeError as error:
            raise ReaderGoneError from error
        except OSError as error:
            hints = {
                errno.ENOSPC: "df -h   # free some space, or send the output elsewhere",
                errno.EBADF: "open standard output: leave >&- out, or send it to /dev/null",
            }
            raise StorageError(
                f"standard output cannot be written: {error.strerror}",
                hint=hints.get(error.errno or 0, "send the output to another file"),
            ) from error
        self.written_bytes += count
        return count


class _ForgivingFile(io.FileIO):
    """Standard error's descriptor; what it cannot take is lost, and the command goes on."""

    def write(self, data: Any) -> int:
        try:
            return super().write(data)
        except OSError:
            return len(data)


def prepare_streams() -> None:
    """Open what is closed, replace what a locale cannot spell, and check what is written to standard output.

    A standard error that is closed, full or read by nobody is like /dev/null, and so is a closed standard input. A
    closed standard output stays closed: whatever is printed there raises StorageError, because somebody wanted it.
    """
    stdout_is_closed = _fill_descriptors()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding=_named_encoding(), errors="replace")
    if sys.stdin is None:
        sys.stdin = open(os.devnull, encoding="utf-8")  # noqa: PTH123, SIM115  a stream, for the process's whole life
    if sys.stderr is None:
        sys.stderr = _open_null()
    elif isinstance(sys.stderr, io.TextIOWrapper) and sys.stderr.fileno() == 2:
        sys.stderr = _wrap(_ForgivingFile(2, "w", closefd=False), sys.stderr)
    if stdout_is_closed:
        sys.stdout = _wrap(_CheckedFile(os.open(os.devnull, os.O_RDONLY), "w"), None)
    elif isinstance(sys.stdout, io.TextIOWrapper) and sys.stdout.fileno() == 1:
        sys.stdout = _wrap(_CheckedFile(1, "w", closefd=False), sys.stdout)


def nothing_is_printed() -> bool:
    """Tell whether nothing has come out on standard output; what is buffered does not count."""
    buffer = getattr(sys.stdout, "buffer", None)
    raw = getattr(buffer, "raw", None)
    return isinstance(raw, _CheckedFile) and raw.written_bytes == 0


def discard_output() -> None:
    """Forget what is still buffered for standard output, so that Python's exit does not try to write it again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)


def _fill_descriptors() -> bool:
    """Open /dev/null on closed standard descriptors, before a file gets one; tell if standard output was closed."""
    stdout_is_closed = False
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            stdout_is_closed |= descriptor == 1
    return stdout_is_closed


def _named_encoding() -> str | None:
    """Return PYTHONIOENCODING's encoding where the interpreter was told to look at none of its variables."""
    named = os.environ.get("PYTHONIOENCODING", "").partition(":")[0] if sys.flags.ignore_environment else ""
    try:
        return codecs.lookup(named).name if named else None
    except LookupError:
        return None


def _open_null() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123  a stream, for the process's whole life


def _wrap(raw: io.FileIO, like: io.TextIOWrapper | None) -> TextIO:
    return io.TextIOWrapper(
        io.BufferedWriter(raw),
        encoding="utf-8" if like is None else like.encoding,
        errors="replace",
        line_buffering=like is not None and like.line_buffering,
    )
