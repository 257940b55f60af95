"""A file that is still on its way: locked, hashed as it grows, able to go on after a crash. Part of `downloads`."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

from admlops.core.file_lock import is_at
from admlops.core.storage import READ_BYTES, explain_os_error, file_sha256, write_atomically


@dataclass(frozen=True, kw_only=True)
class Download:
    """A file that is whole and in its place."""

    path: Path
    sha256: str
    size_bytes: int


class PartialFile:
    """`.NAME.part` beside NAME, locked by this process until the block ends.

    `.NAME.part.json` keeps the validator: the server's mark of the very content that the bytes belong to.
    """

    def __init__(self, target: Path, file: BinaryIO, *, waited: bool) -> None:
        self._target = target
        self._path = _part_path(target)
        self._note = self._path.with_name(f"{self._path.name}.json")
        self._file = file
        self._waited = waited
        self._validator = self._read_validator()
        self._digest = hashlib.sha256()
        self.size_bytes = 0
        while piece := file.read(READ_BYTES):
            self._digest.update(piece)
            self.size_bytes += len(piece)

    @classmethod
    def beside(cls, target: Path, *, say: Callable[[str], None]) -> Self:
        """Open, or make, the partial file of `target`; waits while another process holds it.

        Raises:
            StorageError: the folder cannot be written.
        """
        path, waited = _part_path(target), False
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            while True:
                file = path.open("a+b")
                file.seek(0)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    say(f"{target.name}: waiting for another process that is downloading it")
                    waited = True
                    fcntl.flock(file, fcntl.LOCK_EX)
                # The one that held it may have renamed or removed it meanwhile: then this lock guards nothing.
                if is_at(path, file.fileno()):
                    return cls(target, file, waited=waited)
                file.close()
        except OSError as error:
            raise explain_os_error(error, target) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leave the bytes for the next attempt; an empty file is of no use to it."""
        with suppress(OSError):  # a full disk: closing flushes
            if self.size_bytes == 0 and not self._file.closed:
                self._remove()
            self._file.close()

    def finished_elsewhere(self, sha256: str | None) -> bool:
        """Tell whether the process that we waited for has put the target in its place."""
        if not self._waited or self.size_bytes or not self._target.is_file():
            return False
        return sha256 is None or file_sha256(self._target) == sha256

    def range_headers(self, *, sure: bool) -> dict[str, str]:
        """Return headers that ask for the rest; without a validator only if a hash will judge the bytes (`sure`)."""
        if self.size_bytes == 0 or (self._validator is None and not sure):
            return {}
        headers = {"Range": f"bytes={self.size_bytes}-"}
        return headers if self._validator is None else {**headers, "If-Range": self._validator}

    def begin_anew(self, validator: str | None) -> None:
        """Drop what is there; the bytes to come belong to the content that `validator` marks."""
        self.discard()
        self._validator = validator
        if validator is not None:
            write_atomically(self._note, json.dumps({"validator": validator}).encode())

    def discard(self) -> None:
        """Drop what is there, and what was known about it."""
        self._file.seek(0)
        self._file.truncate()
        self._note.unlink(missing_ok=True)
        self._validator = None
        self._digest = hashlib.sha256()
        self.size_bytes = 0

    def append(self, piece: bytes) -> None:
        """Add the next bytes.

        Raises:
            StorageError: the disk is full; the bytes so far stay.
        """
        try:
            self._file.write(piece)
            self._file.flush()  # so that a killed process leaves what it had
        except OSError as error:
            raise explain_os_error(error, self._path) from error
        self._digest.update(piece)
        self.size_bytes += len(piece)

    def sha256(self) -> str:
        """Of all bytes so far."""
        return self._digest.hexdigest()

    def finish(self) -> Download:
        """Rename it into its place.

        Raises:
            StorageError: the disk is full, or the target cannot be replaced.
        """
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._path.replace(self._target)
            self._note.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, self._target) from error
        self._file.close()
        return Download(path=self._target, sha256=self.sha256(), size_bytes=self.size_bytes)

    def _remove(self) -> None:
        self._path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)

    def _read_validator(self) -> str | None:
        with suppress(OSError, ValueError, TypeError, KeyError):
            validator = json.loads(self._note.read_text())["validator"]
            return validator if isinstance(validator, str) else None
        return None


def _part_path(target: Path) -> Path:
    return target.with_name(f".{target.name}.part")
