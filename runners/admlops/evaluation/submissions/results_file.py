"""A results file as it is on disk: JSON or pickle, alone or the only file of a zip.

JSON is mapped into memory, not read: a file of a gigabyte costs no more than what is looked at. Python's JSON has NaN
and Infinity, which JSON does not; they are put into quotes, at the same length, in a private copy of their pages.
"""

from __future__ import annotations

import hashlib
import json
import mmap
import re
import tempfile
import zipfile
from contextlib import AbstractContextManager
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self, TypeVar

import msgspec

from admlops.core.counting import count_of
from admlops.core.errors import UsageError
from admlops.evaluation.submissions.pickled import read_pickle

PICKLE, JSON = "pickle", "json"
ZIP = b"PK\x03\x04"
PIECE_BYTES = 1 << 20
PEEK_BYTES = 1 << 16
LARGEST_PEEK_BYTES = 64 << 20

NOT_NUMBERS = {"N": float("nan"), "Infini": float("inf"), "-Infini": float("-inf")}
"""What stands in quotes for the numbers that JSON does not have."""

_NOT_A_NUMBER = re.compile(rb"(?<=[\[:,\s])(NaN|-?Infinity)(?=[\],}\s])")
_QUOTED = {b"NaN": b'"N"', b"Infinity": b'"Infini"', b"-Infinity": b'"-Infini"'}
_BRACKETS = re.compile(rb"\s*(.)", re.DOTALL)

Kind = TypeVar("Kind")
Entries = dict[str, msgspec.Raw]


class ResultsFile(AbstractContextManager["ResultsFile"]):
    """One file; a context, which keeps it mapped.

    Attributes:
        path: as it was named.
        kind: `json` or `pickle`.
        size_bytes: of the file as it is on disk.

    Raises:
        UsageError: it cannot be read, is empty, a folder, or a zip with more than one file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: IO[bytes] | None = None
        self._map: mmap.mmap | None = None
        self._has_quotes = False

    def __enter__(self) -> Self:
        try:
            self.size_bytes = self.path.stat().st_size
            self._file = self._open()
            self._map = mmap.mmap(self._file.fileno(), 0, access=mmap.ACCESS_COPY)
        except ValueError as error:  # what mmap says of an empty file
            raise UsageError(f"{self.path} is empty", hint=f"ls -l {self.path}   # make it again") from error
        except OSError as error:
            reason = error.strerror or str(error)
            raise UsageError(f"{self.path} cannot be read: {reason}", hint=f"ls -l {self.path}") from error
        self.kind = PICKLE if self._map[:1] == b"\x80" else JSON
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # The map goes with its last user: closing it under a part that somebody still reads would crash.
        self._map = None
        if self._file is not None:
            self._file.close()

    @cached_property
    def sha256(self) -> str:
        """The sha256 of the file as it is on disk."""
        digest = hashlib.sha256()
        with self.path.open("rb") as file:
            while piece := file.read(PIECE_BYTES):
                digest.update(piece)
        return digest.hexdigest()

    @property
    def stream(self) -> IO[bytes]:
        """The content, unpacked, from its beginning."""
        assert self._file is not None, "a results file is read within its context"
        self._file.seek(0)
        return self._file

    @property
    def is_object(self) -> bool:
        """Tell whether it is a JSON object."""
        return self.kind == JSON and self._first() == b"{"

    @property
    def is_list(self) -> bool:
        """Tell whether it is a JSON list."""
        return self.kind == JSON and self._first() == b"["

    @cached_property
    def top(self) -> Entries:
        """The entries of a JSON object, not decoded. Raises UsageError: it is no JSON, or no object."""
        if not self.is_object:
            raise self.complain("it is no JSON object")
        return self.decode(self._content(), Entries, "the file")

    @cached_property
    def results(self) -> Entries:
        """The entries of `results` of a JSON object, by token, not decoded. Raises UsageError: it is no object."""
        return self.section("results")

    def section(self, key: str) -> Entries:
        """Return the entries of an object in the JSON object, not decoded. Raises UsageError."""
        if key not in self.top:
            raise self.complain(f"it has no {key!r}")
        return self.decode(self.top[key], Entries, repr(key))

    def whole(self, kind: type[Kind], what: str) -> Kind:
        """Decode all of it. Raises UsageError."""
        return self.decode(self._content(), kind, what)

    @cached_property
    def unpickled(self) -> Any:
        """What a pickle holds, read without running it. Raises UsageError: it names what is not on the list."""
        return read_pickle(self.stream, self.path)

    def peek(self, raw: msgspec.Raw | None = None) -> Any:
        """Return the first entry of a JSON list or object, however large it is: None if there is none."""
        content = self._content() if raw is None else memoryview(raw)
        size = PEEK_BYTES
        while True:
            text = bytes(content[:size]).decode(errors="replace").lstrip()
            try:
                return _first_entry(text)
            except ValueError:
                if size >= min(len(content), LARGEST_PEEK_BYTES):
                    return None
                size *= 8

    def decode(self, content: Any, kind: type[Kind], what: str) -> Kind:
        """Decode a part of the file, also where Python's NaN stands in it.

        Raises:
            UsageError: it is not JSON, or not of this kind.
        """
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            raise self.complain(f"{what}: {error}") from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            if content is not self._map or not self._quote_numbers():
                raise self.complain(f"{what} is not JSON: {error}") from error
        return self.decode(content, kind, what)

    def complain(self, what: str, hint: str = "") -> UsageError:
        """Return the error of a file that cannot be taken."""
        return UsageError(f"{self.path}: {what}", hint=hint or "docs/submissions.md shows what each format holds")

    def _content(self) -> mmap.mmap:
        assert self._map is not None, "a results file is read within its context"
        return self._map

    def _first(self) -> bytes:
        found = _BRACKETS.match(self._content())
        return found[1] if found else b""

    def _quote_numbers(self) -> bool:
        """Put NaN and Infinity into quotes; tell whether there were any that were not yet."""
        if self._has_quotes:
            return False
        self._has_quotes = True
        content, found = self._content(), False
        for match in _NOT_A_NUMBER.finditer(content):
            found = True
            content[match.start() : match.end()] = _QUOTED[match[0]]
        return found

    def _open(self) -> IO[bytes]:
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a folder, not a results file", hint=f"ls {self.path}   # name the file")
        file = self.path.open("rb")
        if file.read(len(ZIP)) != ZIP:
            return file
        file.close()
        return self._unpack()

    def _unpack(self) -> IO[bytes]:
        """Unpack the only file of a zip into a nameless one; the system's own files do not count."""
        try:
            with zipfile.ZipFile(self.path) as packed:
                names = [one for one in packed.infolist() if not one.is_dir() and not _is_litter(one.filename)]
                if len(names) != 1:
                    listed = ", ".join(one.filename for one in names[:5])
                    raise UsageError(
                        f"{self.path} holds {count_of(len(names), 'file')}{f' ({listed})' if listed else ''}, "
                        "where a results file is expected alone",
                        hint="unpack it and name the file, or pack that one alone",
                    )
                unpacked: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115  # closed by __exit__
                left = names[0].file_size
                with packed.open(names[0]) as content:
                    while left >= 0 and (piece := content.read(PIECE_BYTES)):
                        left -= len(piece)
                        unpacked.write(piece)
                unpacked.flush()
                return unpacked
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise UsageError(
                f"{self.path} is a damaged or encrypted zip: {error}",
                hint=f"unzip -t {self.path}   # then pack it anew",
            ) from error


def number(value: object) -> float | None:
    """Return the number that an entry of a file means, as Python's `float` reads it; None where it means none."""
    if isinstance(value, str):
        if value in NOT_NUMBERS:
            return NOT_NUMBERS[value]
        try:
            return float(value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) else None


def _is_litter(name: str) -> bool:
    return name.startswith("__MACOSX/") or Path(name).name == ".DS_Store"


def _first_entry(text: str) -> Any:
    """Return the first element of a list, or (key, value) of an object.

    Raises:
        ValueError: the text is cut before its end.
    """
    decoder = json.JSONDecoder()
    rest = text[1:].lstrip()
    if rest[:1] in ("]", "}"):
        return None
    value, end = decoder.raw_decode(rest)
    if text[:1] == "[":
        return value
    after = rest[end:].lstrip()
    if after[:1] != ":":
        raise ValueError("no key")
    return value, decoder.raw_decode(after[1:].lstrip())[0]
