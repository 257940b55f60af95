"""What a fetch would do: which archives come from where, how many bytes they are, and whether the disk has room."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admlops.core.errors import DataError, StorageError, UsageError
from admlops.core.storage import READ_BYTES
from admlops.downloads import remote_size
from admlops.publications.manifest import NOTES
from admlops.publications.publication import Archive, Objects, Part, Publication
from admlops.publications.records import read_fetched

ARCHIVE_SUFFIXES = (".tgz", ".tar", ".gz", ".zip")
UNPACKED_SHARE = 1.05
"""Pictures and point clouds hardly shrink: their archives are about as large as what is in them."""
ROOM_FOR_NOTES_BYTES = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Step:
    """One archive, or the objects of one part.

    `local` is the file that a person has; None: it is downloaded from `url`, or its objects are. `size_bytes` is what
    is to be fetched or read, by the server's word where it was asked; `is_done` says that the data set has it already.
    """

    name: str
    part_name: str
    part: Part
    archive: Archive | None = None
    objects: Objects | None = None
    url: str = ""
    local: Path | None = None
    size_bytes: int = 0
    is_done: bool = False

    @property
    def unpacked_bytes(self) -> int:
        """The approximate room that its content takes."""
        if self.archive is not None and self.archive.about_unpacked_gb is not None:
            return int(self.archive.about_unpacked_gb * 1e9)
        return int(self.size_bytes * UNPACKED_SHARE)


def plan_fetch(
    publication: Publication, parts: dict[str, Part], root: Path, *, given: Path | None, ask_sizes: bool = True
) -> list[Step]:
    """Return a step for every archive of the parts, those that are done among them.

    Args:
        root: the data set's folder.
        given: a folder with archives that somebody downloaded; what is not in it is downloaded.
        ask_sizes: ask servers for sizes; else the publication's own figures count.

    Raises:
        UsageError: archives come by hand, and some are in no folder.
        DownloadError: a server does not answer, or has no such archive.
    """
    finder = _Given(given)
    steps = []
    for name, part in parts.items():
        steps += [_plan_archive(publication, name, part, one, root, finder, ask_sizes) for one in part.archives]
        if part.objects is not None:
            steps.append(
                Step(
                    name=f"{publication.id}-{name}",
                    part_name=name,
                    part=part,
                    objects=part.objects,
                    url=f"s3://{part.objects.bucket}/{part.objects.prefix}",
                    is_done=read_fetched(root, f"{publication.id}-{name}") is not None,
                )
            )
    absent = [step for step in steps if not (step.is_done or step.local or step.url)]
    if absent:
        raise _by_hand(publication, absent, parts, given)
    return steps


def _plan_archive(
    publication: Publication, name: str, part: Part, archive: Archive, root: Path, finder: _Given, ask_sizes: bool
) -> Step:
    about = int(archive.about_gb * 1e9)
    step = Step(name=archive.file, part_name=name, part=part, archive=archive, size_bytes=about)
    done = read_fetched(root, archive.file)
    if done is not None:
        return replace(step, is_done=True, size_bytes=done.size)
    local = finder.find(archive)
    if local is not None:
        return replace(step, local=local, size_bytes=local.stat().st_size)
    if not publication.base:
        return step
    url = publication.base + archive.file
    return replace(step, url=url, size_bytes=(remote_size(url) if ask_sizes else None) or about)


class _Given:
    """The archives in a person's folder, by name, or by their md5 where they are called something else."""

    def __init__(self, folder: Path | None) -> None:
        if folder is not None and not folder.is_dir():
            raise UsageError(f"--from {folder} is no folder", hint=f"ls -ld {folder}")
        self._files = [] if folder is None else sorted(path for path in folder.iterdir() if _is_archive(path))
        self._md5: dict[str, Path] | None = None

    def find(self, archive: Archive) -> Path | None:
        """Return the file that is this archive, or claims to be."""
        named = next((path for path in self._files if path.name == archive.file), None)
        if named is not None or not archive.md5:
            return named
        if self._md5 is None:
            self._md5 = {file_md5(path): path for path in self._files}
        return next((self._md5[one] for one in archive.md5 if one in self._md5), None)


def _is_archive(path: Path) -> bool:
    return path.is_file() and path.name.endswith(ARCHIVE_SUFFIXES) and not path.name.startswith(".")


def _by_hand(
    publication: Publication, absent: Sequence[Step], parts: dict[str, Part], given: Path | None
) -> UsageError:
    names = ", ".join(step.name for step in absent)
    where = "" if given is None else f"; {given} has none of that name or md5"
    asked = " ".join(f"--part {name}" for name in parts)
    return UsageError(
        f"{publication.title} cannot be fetched by a program. {publication.by_hand} Download {names} from "
        f"{publication.page}{where}",
        hint=f"admlops data fetch {publication.id} {asked} --from FOLDER   # FOLDER holds what you downloaded",
    )


def check_room(steps: Sequence[Step], root: Path, *, unpacking: int, keep_archives: bool) -> tuple[int, int]:
    """Return the bytes that a fetch needs at its peak, and those that the disk has free.

    Archives are removed once they are unpacked, so at most `unpacking` and the one that comes lie there together; with
    `keep_archives` all of them stay.

    Raises:
        StorageError: there is not enough room.
    """
    waiting = [step for step in steps if not step.is_done]
    fetched = sorted((step.size_bytes for step in waiting if step.archive and step.local is None), reverse=True)
    beside = sum(fetched if keep_archives else fetched[: unpacking + 1])
    needed = sum(step.unpacked_bytes for step in waiting) + beside + (ROOM_FOR_NOTES_BYTES if waiting else 0)
    present = next(path for path in (root, *root.parents) if path.exists())
    free = shutil.disk_usage(present).free
    if needed > free:
        raise StorageError(
            f"{root} needs about {needed / 1e9:.1f} GB, and its disk has {free / 1e9:.1f} GB free",
            hint=f"df -h {present}   # free some space, or name a folder on another disk with --to",
        )
    return needed, free


def check_md5(path: Path, archive: Archive) -> str:
    """Return a file's md5, which is one of the archive's where those are known.

    Raises:
        DataError: it is another file.
    """
    found = file_md5(path)
    if archive.md5 and found not in archive.md5:
        generations = " or ".join(archive.md5)
        raise DataError(
            f"{path} is not {archive.file} as it was published: its md5 is {found}, not {generations}",
            hint=f"rm {path}   # then fetch it again; --any-md5 takes a generation that is not known yet",
        )
    return found


def file_md5(path: Path) -> str:
    """Return the md5 of a file's content: what publishers of data sets give."""
    digest = hashlib.md5(usedforsecurity=False)
    for piece in _pieces(path):
        digest.update(piece)
    return digest.hexdigest()


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(READ_BYTES):
            yield piece


def incoming_folder(root: Path) -> Path:
    """Return where archives lie while they come."""
    return root / NOTES / "incoming"
