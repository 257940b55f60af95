"""Unpacks an archive into a data set: file by file, each whole before it gets its name, and none outside the folder.

Archives are content from the network: only plain files and folders are taken, names that lead elsewhere are refused,
and neither owners nor permissions are carried over. A second run finds the files that the first one finished. What came
from an archive that turns out to be damaged is removed again.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO

from admlops.core.errors import DataError, StoppedError, UsageError
from admlops.core.storage import READ_BYTES, explain_os_error, file_sha256
from admlops.publications.manifest import NOTES, Entry

PART_SUFFIX = ".admlops-part"


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where an archive's files go: below `into` of the data set's `root`, without the archive's own top folder `top`.

    `replace` allows overwriting a file of other content that lies there.
    """

    root: Path
    into: str = ""
    top: str = ""
    replace: bool = False


@dataclass(frozen=True, kw_only=True)
class _Member:
    name: str
    size: int
    content: IO[bytes]


def unpack(
    archive: Path,
    destination: Destination,
    *,
    stop: threading.Event | None = None,
    on_bytes: Callable[[int], None] = lambda _: None,
) -> list[Entry]:
    """Unpack a tar, plain or compressed, or a zip; return what it holds, by paths relative to the root.

    Args:
        archive: its content tells its format.
        stop: set by whoever wants it to end before the next file.
        on_bytes: told of each piece of content that is done.

    Raises:
        DataError: it is no archive, damaged, or holds what is refused.
        UsageError: a file that somebody else put there would be replaced.
        StorageError: the disk is full; whole files stay, and the next call goes on.
        StoppedError: `stop` was set.
    """
    written: list[Path] = []
    entries = []
    try:
        with _open(archive) as members:
            for member in members:
                if stop is not None and stop.is_set():
                    raise StoppedError(
                        f"unpacking {archive.name} was stopped", hint="run the command again: it goes on"
                    )
                entries.append(_place(archive, member, destination, written, on_bytes))
    except (tarfile.TarError, zipfile.BadZipFile, zlib.error, EOFError) as error:
        raise _damaged(archive, error, written) from error
    except OSError as error:
        if error.errno is None:  # gzip's own word for content that is not gzip, or whose sum is wrong
            raise _damaged(archive, error, written) from error
        raise explain_os_error(error, destination.root) from error
    return entries


def _damaged(archive: Path, error: Exception, written: Iterable[Path]) -> DataError:
    for path in written:
        path.unlink(missing_ok=True)
    return DataError(
        f"{archive} is damaged or no archive: {error}",
        hint=f"rm {archive}   # then run the command again: it is fetched anew",
    )


@contextmanager
def _open(archive: Path) -> Iterator[Iterator[_Member]]:
    """Open an archive as what its content is: publishers call plain tar files `.tgz`."""
    if zipfile.is_zipfile(archive):
        with zipfile.ZipFile(archive) as packed:
            yield _zip_members(packed)
    else:
        with tarfile.open(archive, mode="r:*") as tar:
            yield _tar_members(archive, tar)
            # tarfile stops at the mark of the end: the sum over the whole is checked by reading what follows.
            while tar.fileobj is not None and tar.fileobj.read(READ_BYTES):
                pass


def _tar_members(archive: Path, tar: tarfile.TarFile) -> Iterator[_Member]:
    for info in tar:
        tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every header that it has read: 100,000s
        if info.isdir():
            continue
        if not info.isreg():
            kind = "a link" if info.issym() or info.islnk() else "no plain file"
            raise DataError(
                f"{archive} is refused: {info.name} in it is {kind}", hint="fetch the archive from its publisher again"
            )
        extracted = tar.extractfile(info)
        assert extracted is not None, "a plain file has content"
        yield _Member(name=info.name, size=info.size, content=extracted)


def _zip_members(packed: zipfile.ZipFile) -> Iterator[_Member]:
    for info in packed.infolist():
        if not info.is_dir():
            yield _Member(name=info.filename, size=info.file_size, content=packed.open(info))


def _place(
    archive: Path, member: _Member, destination: Destination, written: list[Path], on_bytes: Callable[[int], None]
) -> Entry:
    """Write a member beside its place, then rename it there, unless the same is there already."""
    path = _path_of(archive, member.name, destination)
    target = destination.root / path
    beside = target.with_name(f".{target.name}{PART_SUFFIX}")
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        with member.content as content, beside.open("wb") as file:
            sha256 = _copy(content, file, on_bytes)
        if not target.is_file():
            written.append(target)
        elif target.stat().st_size == member.size and file_sha256(target) == sha256:
            beside.unlink()
            return Entry(path=path, size=member.size, sha256=sha256)
        elif not destination.replace:
            raise _in_the_way(target, archive)  # noqa: TRY301  what lies beside goes in any case
        os.replace(beside, target)  # noqa: PTH105  once for each of a million files
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return Entry(path=path, size=member.size, sha256=sha256)


def _in_the_way(target: Path, archive: Path) -> UsageError:
    return UsageError(
        f"{target} is there already, and {archive.name} has other content for it",
        hint="move it away, or repeat the command with --replace",
    )


def _path_of(archive: Path, name: str, destination: Destination) -> str:
    """Return a member's path below the data set's root.

    Raises:
        DataError: it would leave the root, or land among our own notes.
    """
    parts = PurePosixPath(name).parts
    parts = tuple(part for part in parts if part != ".")
    if parts and destination.top and parts[0] == destination.top:
        parts = parts[1:]
    if not parts or name.startswith("/") or ".." in parts or "\\" in name or parts[0] == NOTES:
        raise DataError(
            f"{archive} is refused: it would write {name!r}", hint="fetch the archive from its publisher again"
        )
    return str(PurePosixPath(destination.into, *parts))


def _copy(content: IO[bytes], file: IO[bytes], on_bytes: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    while piece := content.read(READ_BYTES):
        digest.update(piece)
        file.write(piece)
        on_bytes(len(piece))
    return digest.hexdigest()
