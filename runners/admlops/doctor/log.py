"""Reading a log, whatever wrote it: from a file or a pipe, packed or not, in any usual encoding, and of any size."""

from __future__ import annotations

import codecs
import re
import zlib
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from admlops.core.errors import UsageError

KEPT_BYTES = 16_000_000
"""How much of a log's end is examined; what failed last stands there."""
UNPACKED_BYTES_AT_MOST = 4_000_000_000
LINE_CHARACTERS = 2_000
"""A longer line keeps its beginning and its end."""
CHUNK = 1 << 20
_HEAD = 4_096

_BINARY = {
    b"PK\x03\x04": "a zip archive or a checkpoint of torch",
    b"\x7fELF": "a program or a library",
    b"\x89PNG": "a picture",
    b"\xff\xd8\xff": "a picture",
    b"%PDF": "a PDF",
    b"\x80\x02": "a pickle",
    b"\x80\x03": "a pickle",
    b"\x80\x04": "a pickle",
    b"SQLite format": "a database",
}
_PACKED = {b"\xfd7zXZ": "xz -dc", b"BZh": "bzip2 -dc", b"\x28\xb5\x2f\xfd": "zstd -dc"}
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF32_LE: "utf-32-le",
    codecs.BOM_UTF8: "utf-8",
    codecs.BOM_UTF16_LE: "utf-16-le",
    codecs.BOM_UTF16_BE: "utf-16-be",
}

_ESCAPE = re.compile(
    r"\x1b\][^\x07\x1b\n]{0,4096}(?:\x07|\x1b\\)?"  # a title or a link
    r"|(?:\x1b\[|\x9b)[0-?]{0,64}[ -/]{0,8}[@-~]?"  # colours, the cursor
    r"|\x1b[PX^_][^\x1b\n]{0,4096}(?:\x1b\\)?"
    r"|\x1b[ -/]{0,8}[0-~]?"
)
_BACKSPACE = re.compile(r"[^\n\x08]\x08")
_INVISIBLE = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2066-\u2069\ufeff]")
_AFTER_BAR = re.compile(r"((?:it|s|B|img|batch)/(?:s|it|img)(?:, [^\]\n]{0,200})?\])(?=[A-Z])")
"""A progress bar does not end its line: what is said next stands behind it."""
_NEW_LINE = re.compile(r"\r\n?|[\n\x0b\x0c\x85\u2028\u2029]")
_FRAME_LEFT = re.compile(r"^\s*[│┃║╭╰├└╮╯┌][│┃║╭╰├└╮╯┌─━═>▶ ]*")
_FRAME_RIGHT = re.compile(r"\s*[│┃║╮╯]\s*$")


@dataclass(frozen=True, kw_only=True)
class Log:
    """The lines of a log's end, fit to be printed: no escapes, no control characters, no frames around messages."""

    lines: tuple[str, ...]
    skipped_bytes: int = 0
    """How many bytes before them were not examined."""


def read_log(path: Path) -> Log:
    """The end of the log at `path`.

    Raises:
        UsageError: it is not there, may not be read, is a folder, or holds no text.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder, not a log", hint=f"ls -t {path} | head   # then name one of its files")
    try:
        with path.open("rb") as file:
            return read_stream(file, str(path), size=path.stat().st_size if path.is_file() else 0)
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror or error}", hint=f"ls -l {path}") from error


def read_stream(stream: BinaryIO, name: str, *, size: int = 0) -> Log:
    """The end of the log that `stream` brings; `name` is for errors. With its `size` in bytes, the rest is skipped.

    Raises:
        UsageError: it holds no text.
    """
    head = stream.read(_HEAD)
    _refuse_other_files(head, name)
    jump = size - KEPT_BYTES
    if head[:2] == b"\x1f\x8b":
        chunks: Iterator[bytes] = _unpack(_chunks(stream, head), name)
        head = next(chunks, b"")
        _refuse_other_files(head, name)
        tail, skipped = _tail(chunks, head)
    elif jump > _HEAD and stream.seekable():
        stream.seek(jump)
        tail, skipped = _tail(_chunks(stream, b""), b"")
        skipped += jump
    else:
        tail, skipped = _tail(_chunks(stream, b""), head)
    return Log(lines=clean(_decode(head[:_HEAD], tail, skipped, name)), skipped_bytes=skipped)


def clean(text: str) -> tuple[str, ...]:
    """The lines of a text without what a terminal would act on; a progress bar's states are lines of their own."""
    if "\x1b" in text or "\x9b" in text:
        text = _ESCAPE.sub("", text)
    text = _NEW_LINE.sub("\n", text)
    if "\x08" in text:
        text = _BACKSPACE.sub("", text)
    text = _AFTER_BAR.sub(r"\1\n", text)
    return tuple(_clean_line(line) for line in _INVISIBLE.sub("", text).split("\n"))


def _clean_line(line: str) -> str:
    line = line.rstrip()
    if len(line) > LINE_CHARACTERS:
        line = f"{line[: LINE_CHARACTERS // 2]} … {line[-LINE_CHARACTERS // 2 :]}"
    return unframe(line)


def unframe(line: str) -> str:
    """A line without the box that rich or pip draws around it."""
    framed = _FRAME_LEFT.match(line)
    return _FRAME_RIGHT.sub("", line[framed.end() :]) if framed else line


def _refuse_other_files(head: bytes, name: str) -> None:
    for magic, command in _PACKED.items():
        if head.startswith(magic):
            raise UsageError(f"{name} is packed", hint=f"{command} {name} | admlops doctor -")
    for magic, what in _BINARY.items():
        if head.startswith(magic):
            raise UsageError(
                f"{name} is no log but {what}", hint="admlops doctor LOG   # a file with a program's output"
            )


def _chunks(stream: BinaryIO, head: bytes) -> Iterator[bytes]:
    yield head
    while chunk := stream.read(CHUNK):
        yield chunk


def _unpack(chunks: Iterable[bytes], name: str) -> Iterator[bytes]:
    """Return what gzip packed; a file that is cut short gives what it has."""
    unpacker = zlib.decompressobj(wbits=31)
    total = 0
    for packed in chunks:
        rest = packed
        while rest:
            try:
                out = unpacker.decompress(rest, CHUNK)
            except zlib.error as error:
                if total:
                    return
                raise UsageError(f"{name} is a damaged gzip file", hint=f"gzip -t {name}") from error
            total += len(out)
            if total > UNPACKED_BYTES_AT_MOST:
                raise UsageError(
                    f"{name} unpacks to more than 4 GB", hint=f"zcat {name} | tail -n 100000 | admlops doctor -"
                )
            if out:
                yield out
            rest = unpacker.unconsumed_tail or unpacker.unused_data
            if unpacker.eof:
                unpacker = zlib.decompressobj(wbits=31)


def _tail(chunks: Iterable[bytes], head: bytes) -> tuple[bytes, int]:
    """The last KEPT_BYTES of head and chunks, and how many bytes came before them."""
    kept = deque([head])
    size, skipped = len(head), 0
    for chunk in chunks:
        kept.append(chunk)
        size += len(chunk)
        while size - len(kept[0]) >= KEPT_BYTES:
            dropped = kept.popleft()
            size -= len(dropped)
            skipped += len(dropped)
    tail = b"".join(kept)
    cut = max(0, len(tail) - KEPT_BYTES)
    return tail[cut:], skipped + cut


def _decode(head: bytes, tail: bytes, skipped: int, name: str) -> str:
    encoding = _encoding(head)
    if encoding.startswith("utf-16"):
        return tail[skipped % 2 :].decode(encoding, errors="replace")
    if encoding != "utf-8":
        return tail[-skipped % 4 :].decode(encoding, errors="replace")
    tail = tail.strip(b"\0")  # a machine that lost power leaves them
    sample = tail[:_HEAD] + tail[-_HEAD:]
    odd = sum(sample.count(byte) for byte in (*range(7), *range(14, 27), *range(28, 32)))
    if odd > len(sample) / 50:
        raise UsageError(f"{name} holds no text", hint="admlops doctor LOG   # a file with a program's output")
    return tail.decode("utf-8", errors=_LATIN)


def _encoding(head: bytes) -> str:
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    pairs = len(head) // 2
    if pairs >= 4:
        if head[1::2].count(0) > 0.7 * pairs and head[::2].count(0) < 0.1 * pairs:
            return "utf-16-le"
        if head[::2].count(0) > 0.7 * pairs and head[1::2].count(0) < 0.1 * pairs:
            return "utf-16-be"
    return "utf-8"


def _as_latin(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    return error.object[error.start : error.end].decode("latin-1"), error.end


_LATIN = "admlops.latin"
codecs.register_error(_LATIN, _as_latin)
