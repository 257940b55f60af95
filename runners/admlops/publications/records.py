"""What is known about a fetched data set: the terms that were accepted, and the archives that are in it."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import msgspec

from admlops.core.errors import UsageError
from admlops.core.storage import write_atomically
from admlops.publications.manifest import NOTES
from admlops.publications.publication import Publication


class Fetched(msgspec.Struct, frozen=True, kw_only=True):
    """An archive or a part of objects that is whole in a data set: from where, how large, when, how many files.

    `md5` is that of the archive; empty for objects.
    """

    name: str
    part: str
    origin: str
    size: int
    md5: str
    files: int
    time: str


def read_fetched(root: Path, name: str) -> Fetched | None:
    """Return the record of an archive; None if it is not in the data set. A damaged record counts as none."""
    with suppress(OSError, msgspec.MsgspecError):
        return msgspec.json.decode(_record_path(root, name).read_bytes(), type=Fetched)
    return None


def write_fetched(root: Path, record: Fetched) -> None:
    """Note that an archive is whole in the data set. Raises StorageError."""
    write_atomically(_record_path(root, record.name), msgspec.json.format(msgspec.json.encode(record)) + b"\n")


def _record_path(root: Path, name: str) -> Path:
    return root / NOTES / "archives" / f"{name}.json"


def require_terms(root: Path, publication: Publication, *, accepted: bool) -> None:
    """Check that the terms were accepted, now or for this folder before; note it with the day.

    Raises:
        UsageError: they were not. The message gives them.
        StorageError: the note cannot be written.
    """
    path = root / NOTES / "terms.json"
    terms = publication.terms
    if _noted(path).get("sha256") == terms.sha256:
        return
    if not accepted:
        raise UsageError(
            f"{publication.title} has terms of use: {terms.name}. {terms.text} Read them at {terms.page}",
            hint="repeat the command with --accept-terms if you accept them",
        )
    note = {"name": terms.name, "page": terms.page, "sha256": terms.sha256, "accepted": now()}
    write_atomically(path, json.dumps(note, indent=2).encode() + b"\n")


def are_terms_accepted(root: Path, publication: Publication) -> bool:
    """Tell whether somebody accepted the terms for this folder before."""
    return _noted(root / NOTES / "terms.json").get("sha256") == publication.terms.sha256


def _noted(path: Path) -> Mapping[str, object]:
    with suppress(OSError, ValueError):
        noted = json.loads(path.read_text())
        return noted if isinstance(noted, dict) else {}
    return {}


def now() -> str:
    """Return the time for a record, UTC."""
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
