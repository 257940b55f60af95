"""`hashes.json`: what is known of every checkpoint of a model, recorded when it first came and enforced after that."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import msgspec
from filelock import FileLock
from msgspec import Struct

from admlops.checkpoints.inspection import INSPECTOR, Inspection
from admlops.core.errors import CheckpointError, StorageError
from admlops.core.storage import explain_os_error, write_atomically

FILE_NAME = "hashes.json"
LOCK_TIMEOUT_S = 60


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One file. `mtime_ns` and `inode` tell whether it may have changed since it was hashed.

    `signature` and `tensors_sha256` are over its weights: their names and shapes, and their values as well.
    """

    sha256: str
    size_bytes: int
    origin: str
    recorded: str
    format: str
    tensors: int
    globals: list[str]
    inspector: int
    mtime_ns: int = 0
    inode: int = 0
    signature: str = ""
    tensors_sha256: str = ""

    def is_unchanged(self, path: Path) -> bool:
        """Tell whether `path` is, by every check that costs nothing, the file that was hashed and inspected."""
        facts = path.stat()
        seen = (facts.st_size, facts.st_mtime_ns, facts.st_ino)
        return seen == (self.size_bytes, self.mtime_ns, self.inode) and self.inspector == INSPECTOR


class _Register(Struct, forbid_unknown_fields=True):
    files: dict[str, Entry] = {}
    schema: int = 1


def make_entry(path: Path, *, sha256: str, origin: str, inspection: Inspection) -> Entry:
    """The entry of a file that lies in its place and has just been hashed and inspected."""
    facts = path.stat()
    return Entry(
        sha256=sha256,
        size_bytes=facts.st_size,
        origin=origin,
        recorded=datetime.now(UTC).isoformat(timespec="seconds"),
        format=inspection.format,
        tensors=inspection.tensors,
        globals=list(inspection.globals),
        inspector=INSPECTOR,
        mtime_ns=facts.st_mtime_ns,
        inode=facts.st_ino,
        signature=inspection.weights.signature,
        tensors_sha256=inspection.tensors_sha256,
    )


def read_register(folder: Path) -> dict[str, Entry]:
    """File name → entry; empty where nothing was recorded.

    Raises:
        CheckpointError: the register is damaged.
    """
    path = folder / FILE_NAME
    try:
        register = msgspec.json.decode(path.read_bytes(), type=_Register)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise explain_os_error(error, path) from error
    except msgspec.DecodeError as error:
        raise CheckpointError(
            f"{path} is damaged: {error}",
            hint=f"mv {path} {path}.damaged && admlops checkpoints list   # then fetch or add the files again",
        ) from error
    return register.files


def record(folder: Path, name: str, entry: Entry) -> None:
    """Write one entry; two processes may do so at once.

    Raises:
        StorageError: the folder cannot be written.
    """
    with _locked(folder):
        files = {**read_register(folder), name: entry}
        content = msgspec.json.format(msgspec.json.encode(_Register(files=files)), indent=1)
        write_atomically(folder / FILE_NAME, content + b"\n")


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / f".{FILE_NAME}.lock", timeout=LOCK_TIMEOUT_S):
            yield
    except TimeoutError as error:
        raise StorageError(
            f"{folder / FILE_NAME} is held by another process", hint="run the command again when that one is done"
        ) from error
    except OSError as error:
        raise explain_os_error(error, folder / FILE_NAME) from error
