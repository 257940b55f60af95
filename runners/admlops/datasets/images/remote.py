"""Pictures that are named by an address: fetched once into the cache, and read from there afterwards.

A file lies there under the sha256 of its content. `addresses/` has a note for each address, named by the address'
sha256, for addresses may hold signatures: it says which content belongs to it. A picture that the server has changed
since does not replace the first one.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from urllib.parse import unquote, urlsplit

import msgspec

from admlops.core.addresses import redact
from admlops.core.counting import count_of
from admlops.core.errors import AdmlopsError, DataError, DownloadError
from admlops.core.storage import explain_os_error, file_sha256, write_atomically
from admlops.core.types import Say
from admlops.datasets.images.cache import cache_folder
from admlops.datasets.images.contents import PICTURE_SUFFIXES, Picture

THREADS = 8
ATTEMPTS = 4
BACKOFF_S = 1.0
STALL_TIMEOUT_S = 30.0
MAX_NAMED = 3


class _Note(msgspec.Struct, frozen=True):
    sha256: str
    size_bytes: int
    suffix: str


def cached_path(picture: Picture) -> Path | None:
    """Return where a fetched picture lies; None if it was not fetched, or its file is gone or cut."""
    note = _read_note(picture)
    if note is None or picture.sha256 not in (None, note.sha256):
        return None
    path = _content_path(note)
    try:
        return path if path.stat().st_size == note.size_bytes else None
    except OSError:
        return None


def expected_path(picture: Picture) -> Path:
    """Return a path that does not exist, whose name says which picture was not fetched."""
    return cache_folder() / "not-fetched" / (Path(unquote(urlsplit(picture.name).path)).name or "picture")


def fetch_pictures(pictures: Sequence[Picture], say: Say) -> None:
    """Fetch those that are not here. One that cannot be fetched is reported and left out: its sample will fail.

    Raises:
        DownloadError: none can be fetched.
        StorageError: the cache cannot be written.
    """
    wanted = [picture for picture in pictures if cached_path(picture) is None]
    if not wanted:
        return
    from admlops.downloads import UnreachableError

    say(f"fetching {len(wanted)} of {count_of(len(pictures), 'picture')}")
    failures: list[AdmlopsError] = []
    every = max(1, len(wanted) // 10)
    pool = ThreadPoolExecutor(min(THREADS, len(wanted)))
    try:
        jobs = [pool.submit(fetch_picture, picture, say) for picture in wanted]
        for number, job in enumerate(as_completed(jobs), 1):
            error = job.exception()
            if isinstance(error, DownloadError | DataError):
                failures.append(error)
                if len(failures) <= MAX_NAMED:
                    say(error.message)
                if number == THREADS == sum(isinstance(one, UnreachableError) for one in failures):
                    say("no server answers: the other pictures are not tried")
                    failures += [error] * (len(wanted) - number)
                    break
            elif error is not None:
                raise error
            if number % every == 0 or number == len(wanted):
                say(f"fetched {number - len(failures)} of {count_of(len(wanted), 'picture')}")
    finally:
        pool.shutdown(cancel_futures=True)  # after Ctrl-C those that have not begun do not begin
    if len(failures) == len(pictures):
        raise DownloadError(
            f"cannot fetch any of {count_of(len(pictures), 'picture')}; the first: {failures[0].message}",
            hint=failures[0].hint,
        )
    if failures:
        say(f"could not fetch {len(failures)} of {count_of(len(pictures), 'picture')}: their samples will fail")


def fetch_picture(picture: Picture, say: Say) -> Path:
    """Return where a picture lies, fetched if it must be.

    Raises:
        DownloadError: it cannot be fetched.
        DataError: the server has other content than was fetched first.
        StorageError: the cache cannot be written.
    """
    there = cached_path(picture)
    if there is not None:
        return there
    from admlops.downloads import UnreachableError, download  # an HTTP client: most commands fetch nothing

    note = _read_note(picture)
    target = cache_folder() / "incoming" / _key(picture)
    try:
        got = download(
            picture.name,
            target,
            sha256=picture.sha256,
            say=say,
            attempts=ATTEMPTS,
            backoff_s=BACKOFF_S,
            stall_timeout_s=STALL_TIMEOUT_S,
        )
    except DownloadError as error:
        kind = UnreachableError if isinstance(error, UnreachableError) else DownloadError
        raise kind(error.message, hint="check the address in the list, or take its entry away") from error
    if note is not None and picture.sha256 is None and got.sha256 != note.sha256:
        target.unlink(missing_ok=True)
        raise DataError(
            f"{redact(picture.name)} has changed: its sha256 was {note.sha256}, and is {got.sha256} now",
            hint=f"rm {_note_path(picture)}   # to take the new picture; numbers on the old one do not hold for it",
        )
    return _keep(picture, target, _Note(sha256=got.sha256, size_bytes=got.size_bytes, suffix=_suffix(picture)))


def is_whole(picture: Picture) -> bool:
    """Tell whether the cached file is still the one that was fetched."""
    note, path = _read_note(picture), cached_path(picture)
    return note is not None and path is not None and file_sha256(path) == note.sha256


def _keep(picture: Picture, fetched: Path, note: _Note) -> Path:
    path = _content_path(note)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched.replace(path)
    except OSError as error:
        raise explain_os_error(error, path) from error
    write_atomically(_note_path(picture), msgspec.json.encode(note))
    return path


def _content_path(note: _Note) -> Path:
    return cache_folder() / "fetched" / note.sha256[:2] / f"{note.sha256}{note.suffix}"


def _note_path(picture: Picture) -> Path:
    return cache_folder() / "addresses" / f"{_key(picture)}.json"


def _key(picture: Picture) -> str:
    return hashlib.sha256(picture.name.encode()).hexdigest()


def _read_note(picture: Picture) -> _Note | None:
    try:
        return msgspec.json.decode(_note_path(picture).read_bytes(), type=_Note)
    except (OSError, msgspec.DecodeError):
        return None


def _suffix(picture: Picture) -> str:
    suffix = Path(urlsplit(picture.name).path).suffix.lower()
    return suffix if suffix in PICTURE_SUFFIXES else ".img"
