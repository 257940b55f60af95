"""The one place that writes a whole file or folder: to a temporary name beside it, then renamed into place."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from admlops.core.errors import AdmlopsError, StorageError
from admlops.core.paths import find_layout

READ_BYTES = 1 << 20


def write_atomically(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write `content` so that `path` is either as before or whole.

    Without `sync` it is not flushed to the disk: for files that can be made again after a power failure.

    Raises:
        StorageError: the disk is full, the folder read-only or missing; `path` is as before.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    except OSError as error:
        raise explain_os_error(error, path) from error
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        Path(temporary).chmod(0o644)
        Path(temporary).replace(path)
    except OSError as error:
        with suppress(OSError):
            Path(temporary).unlink()
        raise explain_os_error(error, path) from error


def copy_atomically(*copies: tuple[Path, Path]) -> None:
    """Copy files, (source, target) each, so that every target is either as before or whole; none until all are copied.

    Raises:
        StorageError: a disk is full, a folder read-only or missing, or a source cannot be read.
    """
    made: list[tuple[Path, Path]] = []
    target = copies[0][1]
    try:
        for source, target in copies:
            target.parent.mkdir(parents=True, exist_ok=True)
            descriptor, temporary = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
            os.close(descriptor)
            made.append((Path(temporary), target))
            shutil.copyfile(source, temporary)
            Path(temporary).chmod(0o644)
        for staged, target in made:
            staged.replace(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        for staged, _ in made:
            with suppress(OSError):
                staged.unlink()


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Give an empty folder beside `target` to fill; at the block's end it is renamed to `target`, else removed.

    Raises:
        StorageError: it cannot be written; any OSError in the block becomes one too.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=f".{target.name}.", dir=target.parent))
    except OSError as error:
        raise explain_os_error(error, target) from error
    try:
        staging.chmod(0o755)
        yield staging
        staging.rename(target)
    except OSError as error:
        raise explain_os_error(error, target) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def require_writable(folder: Path) -> None:
    """Check that files can be written in a folder that may not be there yet, before the work whose result goes there.

    What had to be made for the check is removed again.

    Raises:
        StorageError: it cannot be made or written.
    """
    missing: list[Path] = []
    try:
        missing += [path for path in (folder, *folder.parents) if not path.exists()]
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise explain_os_error(error, folder) from error
    finally:
        for path in missing:
            with suppress(OSError):
                path.rmdir()


def explain_os_error(error: OSError, path: Path) -> StorageError:
    """Return the error that says what a failed write means and what to do about it.

    For a path in the repository folder, the hint is to move that folder; for any other, to name another path.
    """
    elsewhere = "export ADMLOPS_REP_PATH=/another/disk" if _is_in_repository(path) else "name a path on another disk"
    hints = {
        errno.ENOSPC: f"df -h {path.parent}   # free some space, or {elsewhere}",
        errno.EDQUOT: f"df -h {path.parent}   # the quota is used up: {elsewhere}",
        errno.EROFS: f"findmnt -T {path.parent}   # mounted to be read only: {elsewhere}",
        errno.EACCES: f"ls -ld {path.parent}   # make it writable, or {elsewhere}",
    }
    reason = error.strerror or str(error)
    hint = hints.get(error.errno or 0, f"ls -ld {path.parent}   # see what is there, then run the command again")
    return StorageError(f"{path} could not be written: {reason}", hint=hint)


def _is_in_repository(path: Path) -> bool:
    try:
        return path.absolute().is_relative_to(find_layout().repository)
    except AdmlopsError:
        return False


def file_sha256(path: Path) -> str:
    """The sha256 of a file's content, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            digest.update(piece)
    return digest.hexdigest()
