"""Writing the records of one scene so that they are there whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from admlops.core.errors import StorageError
from admlops.core.storage import explain_os_error
from admlops.results.record import Record
from admlops.results.record_json import encode_record

SCENE_BUFFER_BYTES = 1 << 18


class SceneWriter:
    """Writes one scene's records to `<scene>.jsonl.part`; `commit` moves them into place, else nothing counts.

    Use it in a `with` block, or call `open` and `close`. Writers of the same scene at the same time need different
    numbers: `attempt` is in the name of all but the first one's file.
    """

    def __init__(self, final: Path, *, attempt: int = 1) -> None:
        self._final = final
        self._part = final.with_name(f"{final.name}.part" if attempt == 1 else f"{final.name}.{attempt}.part")
        self._file: BinaryIO | None = None

    def open(self) -> None:
        """Begin the file, empty. Raises StorageError."""
        try:
            self._part.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._part.open("wb", buffering=SCENE_BUFFER_BYTES)
        except OSError as error:
            raise explain_os_error(error, self._part) from error

    def append(self, record: Record) -> None:
        """Add one record. Raises StorageError if the disk is full."""
        self.append_line(encode_record(record) + b"\n")

    def append_line(self, line: bytes) -> None:
        """Add a record as it stands in another file, with its newline. Raises StorageError if the disk is full."""
        assert self._file is not None, "append to a file that is not open"
        try:
            self._file.write(line)
        except OSError as error:
            raise explain_os_error(error, self._part) from error

    def commit(self) -> None:
        """Put the scene in place, on the disk itself: after this a power cut loses nothing of it."""
        assert self._file is not None, "commit of a file that is not open"
        try:
            self._file.flush()
            os.fsync(self._file.fileno())
            self._part.replace(self._final)
            _sync_folder(self._final.parent)
        except OSError as error:
            raise explain_os_error(error, self._part) from error

    def close(self) -> None:
        """Close the file, which writes what is buffered. Raises StorageError."""
        file, self._file = self._file, None
        try:
            if file is not None:
                file.close()
        except OSError as error:
            raise explain_os_error(error, self._part) from error

    def discard(self) -> None:
        """Close the file and remove it. Raises StorageError."""
        try:
            self.close()
        finally:
            self._part.unlink(missing_ok=True)

    def __enter__(self) -> SceneWriter:
        self.open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.close()
        except StorageError:
            if error is None:
                raise


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
