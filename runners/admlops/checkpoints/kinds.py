"""What a file that is no checkpoint is, told from its first bytes: a suffix says what someone hoped for.

People add other things as weights: the page that a host sent in place of the file, a pointer of Git LFS, an archive
around the file, the network in another form, a download that did not end. Each is named, with what to do.
"""

from __future__ import annotations

import bz2
import json
import lzma
import re
import zlib
from collections.abc import Callable
from html.parser import HTMLParser
from typing import Any, BinaryIO, NamedTuple

from admlops.checkpoints.drive import explain_page

HEAD_BYTES = 64 << 10
_PEEK_BYTES = 1024
_MOST_JSON_BYTES = 1 << 20
_SHOWN_CHARACTERS = 100
AGAIN = "download the file again, in a browser if need be, and compare its size with the one its page shows"
TENSORS = 'torch.save({"state_dict": model.state_dict()}, "weights.pth")'
"""The way out for weights of one's own, whatever they were saved in."""
EXPORT = f"add the file of weights it was made from; from the network in Python: {TENSORS}"


class Kind(NamedTuple):
    """What a file is, in words that follow "it is", and what to do instead."""

    what: str
    hint: str


class OtherKindError(Exception):
    """The file is something else than a checkpoint."""

    def __init__(self, kind: Kind) -> None:
        super().__init__(kind.what)
        self.kind = kind


_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x28\xb5\x2f\xfd", "a Zstandard archive", "unzstd FILE, then add what it held"),
    (b"\x04\x22\x4d\x18", "an LZ4 archive", "unlz4 FILE, then add what it held"),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "7z x FILE, then add what it held"),
    (b"Rar!\x1a\x07", "a RAR archive", "unrar x FILE, then add what it held"),
    (b"ftrt", "a TensorRT engine", EXPORT),
    (b"GGUF", "a GGUF model of llama.cpp", EXPORT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras and MATLAB write", EXPORT),
    (b"\x93NUMPY", "a NumPy array", EXPORT),
    (b"\x7fELF", "a compiled program", AGAIN),
    (b"MZ", "a Windows program", AGAIN),
    (b"%PDF", "a PDF document", AGAIN),
    (b"\x89PNG", "a picture (PNG)", AGAIN),
    (b"\xff\xd8\xff", "a picture (JPEG)", AGAIN),
    (b"SQLite format 3\0", "an SQLite database", AGAIN),
    (b"\xd0\xcf\x11\xe0", "a document of Microsoft Office", AGAIN),
)
_COMPRESSED: tuple[tuple[bytes, str, str, Callable[[bytes], bytes]], ...] = (
    (b"\x1f\x8b", "a gzip archive", "gunzip -k", lambda head: zlib.decompressobj(31).decompress(head, _PEEK_BYTES)),
    (b"BZh", "a bzip2 archive", "bunzip2 -k", lambda head: bz2.BZ2Decompressor().decompress(head, _PEEK_BYTES)),
    (b"\xfd7zXZ\x00", "an xz archive", "unxz -k", lambda head: lzma.LZMADecompressor().decompress(head, _PEEK_BYTES)),
)
"""Magic, what it is, what unpacks it, and how to look at its first bytes."""
_LFS = re.compile(r"\s*version https://git-lfs\.github\.com/spec/v\d")
_ANNEX = re.compile(r"\s*\S*/?annex/objects/\S+\s*")
_DVC = re.compile(r"\s*(md5: |outs:\s*\n\s*- ?)")
_XML_TEXT = re.compile(r"<(Code|Message|message|code)>([^<]{1,200})</")
_OLD_PICKLE = re.compile(r"(c[\w.]+\n[\w.]+\n|\([dlt]?p?\d*\n|\(c|\([ild]|\(S'|[IL]\d+L?\n|S'|V\w)")
"""The beginning of a pickle of protocol 0, which is ASCII text."""
_ONNX = re.compile(rb"\x08[\x01-\x20](\x12.|\x1a.|\x3a|\x42)", re.DOTALL)


def recognise(file: BinaryIO, size_bytes: int) -> Kind | None:
    """Return what the file at `file` is, if it is known to be no checkpoint; None where it may be one."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        return Kind("an empty file: nothing was downloaded, or the disk was full", AGAIN)
    for magic, what, hint in _MAGIC:
        if head.startswith(magic):
            return Kind(what, hint)
    for magic, what, unpack, peek in _COMPRESSED:
        if head.startswith(magic):
            return _describe_compressed(what, unpack, head, peek)
    known = _recognise_layout(head) or _recognise_zeros(file, head, size_bytes)
    return known or _recognise_text(file, head, size_bytes)


def _describe_compressed(what: str, unpack: str, head: bytes, peek: Callable[[bytes], bytes]) -> Kind:
    """Describe a compressed file with what is in it, as far as its first bytes tell."""
    try:
        begin = peek(head)
    except (zlib.error, OSError, ValueError, EOFError, lzma.LZMAError):
        return Kind(f"{what}, and damaged", AGAIN)
    if begin[257:262] == b"ustar":
        name = begin[:100].rstrip(b"\0").decode("utf-8", errors="replace")
        return Kind(f"{what} around a tar file that begins with {name}", "tar -xf FILE, then add the weights in it")
    inside = " around a checkpoint" if begin[:4] == b"PK\x03\x04" or begin[:2] == b"\x80\x02" else ""
    return Kind(f"{what}{inside}", f"{unpack} FILE   # give it the suffix it wants first; then add what comes out")


def _recognise_layout(head: bytes) -> Kind | None:
    """Recognise formats whose mark is not in their first bytes."""
    length = int.from_bytes(head[:4], "little")
    if head[4:5] == b"{" and head[4 + length : 8 + length] == b"ftrt":
        return Kind("a TensorRT engine, with a header of Ultralytics", EXPORT)
    if head[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite model", EXPORT)
    if _ONNX.match(head):
        return Kind("an ONNX model", EXPORT)
    return None


def _recognise_zeros(file: BinaryIO, head: bytes, size_bytes: int) -> Kind | None:
    """Recognise a download that reserved its space and stopped, by its head and tail, not the whole."""
    if head.strip(b"\0"):
        return None
    file.seek(max(0, size_bytes - HEAD_BYTES))
    tail = file.read(HEAD_BYTES)
    file.seek(0)
    rest = "" if tail.strip(b"\0") else ", to its end"
    return Kind(f"a file that begins with zeros{rest}: a download that reserved its space and did not end", AGAIN)


def _recognise_text(file: BinaryIO, head: bytes, size_bytes: int) -> Kind | None:
    text = _decode(head)
    if text is None:
        return None
    begin = text.lstrip().lower()
    if _LFS.match(text):
        return Kind(
            "a pointer of Git LFS, not the file it stands for",
            "git lfs install && git lfs pull   # in the clone it comes from, then add the file again",
        )
    if _ANNEX.fullmatch(text):
        return Kind("a pointer of git-annex, not the file it stands for", "git annex get FILE, then add it again")
    if _DVC.match(text):
        return Kind("a pointer of DVC, not the file it stands for", "dvc pull   # then add the file it names")
    if begin.startswith(("<!doctype html", "<html", "<head", "<body")) or (begin[:1] == "<" and "<html" in begin):
        return _recognise_page(text)
    if begin.startswith("<"):
        return _recognise_xml(text)
    if begin.startswith(("{", "[")):
        return _recognise_json(file, size_bytes)
    if _OLD_PICKLE.match(text):
        return None
    return Kind(f"a text that begins {_quote(text)}", AGAIN)


def _recognise_page(text: str) -> Kind:
    page = _Title()
    page.feed(text)
    reason = explain_page(text)
    if reason is not None:
        return Kind(f"a web page, not weights: {reason}", "download the file in a browser, signed in, and add that")
    title = " ".join("".join(page.parts).split())
    lower = text.lower()
    if "password" in lower or re.search(r"(sign|log) ?in\b", title.lower()):
        named = f" ({_quote(title)})" if title else ""
        hint = "sign in with a browser, download the file there and add that"
        return Kind(f"a web page, not weights: a login page{named}", hint)
    return Kind(f"a web page, not weights{f': {_quote(title)}' if title else ''}", AGAIN)


def _recognise_xml(text: str) -> Kind:
    said = [value.strip() for _, value in _XML_TEXT.findall(text)]
    if said:
        return Kind(f"an error message in XML, not weights: {_quote(': '.join(said[:2]))}", AGAIN)
    if "<net" in text:
        return Kind("the description of an OpenVINO model", EXPORT)
    return Kind(f"a text in XML that begins {_quote(text)}", AGAIN)


def _recognise_json(file: BinaryIO, size_bytes: int) -> Kind | None:
    if size_bytes > _MOST_JSON_BYTES:
        return Kind("a text in JSON, not weights", AGAIN)
    content = file.read(size_bytes)
    file.seek(0)
    try:
        value = json.loads(content)
    except (ValueError, RecursionError):
        return Kind(f"a text that begins {_quote(_decode(content) or '')}", AGAIN)
    if isinstance(value, dict) and "weight_map" in value:
        named = value["weight_map"]
        shards = {str(one) for one in named.values()} if isinstance(named, dict) else set()
        return Kind(
            f"the index of a checkpoint in {len(shards)} files, not weights",
            "join the files into one in Python, with safetensors.torch.load_file and save_file, and add that",
        )
    said = _message_in(value)
    if said:
        return Kind(f"an error message in JSON, not weights: {_quote(said)}", AGAIN)
    return Kind("a text in JSON, not weights", AGAIN)


def _message_in(value: Any) -> str:
    """The first thing that reads like a message of a web service."""
    if not isinstance(value, dict):
        return ""
    for key in ("error", "errors", "message", "detail", "error_description", "reason", "msg", "code", "status"):
        found = value.get(key)
        if isinstance(found, list) and found:
            found = found[0]
        if isinstance(found, dict):
            parts = [found.get(name) for name in ("code", "status", "message")]
            inner = [str(part) for part in parts if isinstance(part, (str, int))]
            return " ".join(inner) or _message_in(found) or key
        if isinstance(found, (str, int)) and not isinstance(found, bool):
            return str(found)
    return ""


def _decode(head: bytes) -> str | None:
    """The text, if it is one: UTF-8 or UTF-16 without control characters."""
    encodings = ("utf-16",) if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "latin-1")
    for encoding in encodings:
        whole = head if len(head) < HEAD_BYTES else head[: HEAD_BYTES - 4]
        try:
            text = whole.decode(encoding)
        except UnicodeDecodeError:
            continue
        controls = sum(1 for sign in text if (sign < " " and sign not in "\t\n\r\f\x1b") or "\x7f" <= sign < "\xa0")
        if not controls and (encoding != "latin-1" or _mostly_ascii(text)):
            return text
    return None


def _mostly_ascii(text: str) -> bool:
    return sum(sign < "\x7f" for sign in text) > 0.9 * len(text)


def _quote(text: str) -> str:
    line = " ".join(text.split())
    shown = line if len(line) <= _SHOWN_CHARACTERS else f"{line[:_SHOWN_CHARACTERS]}…"
    return f'"{shown}"'


class _Title(HTMLParser):
    """The text of a page's title."""

    def __init__(self) -> None:
        super().__init__()
        self.parts: list[str] = []
        self._inside = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._inside = tag == "title"

    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.parts.append(data)
