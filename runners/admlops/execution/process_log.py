"""The log of a supervised process. It writes to the file itself, so no amount of output can block it or the host."""

from __future__ import annotations

import os
from pathlib import Path

from admlops.core.storage import explain_os_error

MEGABYTE = 1 << 20
TAIL_LINES = 15
TAIL_BYTES = 4096


class ProcessLog:
    """A file opened for appending, cut in the middle when it grows over `limit_bytes`."""

    def __init__(
        self,
        path: Path,
        *,
        limit_bytes: int = 64 * MEGABYTE,
        head_bytes: int = MEGABYTE,
        tail_bytes: int = 4 * MEGABYTE,
    ) -> None:
        self.path = path
        self._limit = limit_bytes
        self._head = head_bytes
        self._tail = tail_bytes
        self._cut = 0
        self._beginning = 0
        self._size = 0

    def open(self, title: str) -> int:
        """Return a descriptor for the process's output, after writing a line with `title`. The caller closes it."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            # O_APPEND: what the process writes after a cut lands at the new end.
            descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
            os.write(descriptor, f"--- {title}\n".encode())
            self._beginning = self._size = os.fstat(descriptor).st_size
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        return descriptor

    def has_grown(self) -> bool:
        """Say whether there is output since the last call; also keep the file within its limit."""
        try:
            size = self.path.stat().st_size
            grown = size > self._size
            self._size = self._shorten() if size > self._limit else size
        except FileNotFoundError:
            return False
        except OSError as error:
            raise explain_os_error(error, self.path) from error
        return grown

    def tail(self) -> str:
        """Return the last lines that this process wrote, for a person to read."""
        try:
            with self.path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                file.seek(max(min(self._beginning, size), size - TAIL_BYTES))
                text = file.read().decode("utf-8", "replace")
        except OSError:
            return ""
        return "\n".join(text.splitlines()[-TAIL_LINES:])

    def _shorten(self) -> int:
        """Keep the beginning and the end. What is written during the cut itself may be lost with the middle."""
        with self.path.open("r+b") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(size - self._tail)
            end = file.read(self._tail)
            self._cut += file.seek(0, os.SEEK_END) - self._head - len(end)
            file.seek(self._head)
            file.write(f"\n--- about {self._cut} bytes of output were cut here ---\n".encode() + end)
            file.truncate()
            self._beginning = 0
            return file.tell()
