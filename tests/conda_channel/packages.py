"""Writing conda packages: the two archive formats, with paths.json and prefix placeholders, from files in memory."""

from __future__ import annotations

import bz2
import hashlib
import io
import json
import tarfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import zstandard

PLACEHOLDER = ("/opt/" + "_placehold" * 26)[:255]
"""The prefix that packages hold instead of a real one; the installer puts the real one in its place."""

TIMESTAMP_MS = 1_700_000_000_000
Format = Literal[".conda", ".tar.bz2"]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A file or, where `target` is given, a symbolic link. `rewrite` says how the placeholder in it is replaced."""

    content: bytes = b""
    mode: int = 0o644
    rewrite: Literal["text", "binary"] | None = None
    target: str | None = None


@dataclass(kw_only=True)
class Package:
    """A conda package to be written; `files` by their path in the prefix (noarch: `site-packages/…`)."""

    name: str
    version: str
    build: str = "0"
    depends: tuple[str, ...] = ()
    constrains: tuple[str, ...] = ()
    noarch: Literal["python", "generic"] | None = None
    entry_points: tuple[str, ...] = ()
    files: dict[str, Entry] = field(default_factory=dict)

    @property
    def subdir(self) -> str:
        return "noarch" if self.noarch else "linux-64"

    @property
    def file_stem(self) -> str:
        return f"{self.name}-{self.version}-{self.build}"

    def add(self, path: str, content: bytes | str, *, mode: int = 0o644) -> Package:
        """Add a text or binary file; one that holds the placeholder is marked to be rewritten."""
        data = content.encode() if isinstance(content, str) else content
        rewrite: Literal["text", "binary"] | None = None
        if PLACEHOLDER.encode() in data:
            rewrite = "binary" if b"\0" in data else "text"
        self.files[path] = Entry(content=data, mode=mode, rewrite=rewrite)
        return self

    def link(self, path: str, target: str) -> Package:
        self.files[path] = Entry(target=target)
        return self

    def write(self, channel: Path, suffix: Format = ".conda") -> Path:
        """Write the archive into the channel's folder for its platform."""
        path = channel / self.subdir / f"{self.file_stem}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        if suffix == ".tar.bz2":
            with bz2.open(path, "wb") as stream:
                _write_tar(stream, {**self._info(), **self.files})
            return path
        with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
            _store(archive, "metadata.json", json.dumps({"conda_pkg_format_version": 2}).encode())
            for kind, entries in (("pkg", self.files), ("info", self._info())):
                _store(archive, f"{kind}-{self.file_stem}.tar.zst", _compressed_tar(entries))
        return path

    def _info(self) -> dict[str, Entry]:
        index = {
            "name": self.name,
            "version": self.version,
            "build": self.build,
            "build_number": 0,
            "depends": list(self.depends),
            "constrains": list(self.constrains),
            "subdir": self.subdir,
            "arch": None if self.noarch else "x86_64",
            "platform": None if self.noarch else "linux",
            "timestamp": TIMESTAMP_MS,
            "license": "MIT",
            **({"noarch": self.noarch} if self.noarch else {}),
        }
        paths = [self._path_entry(path, entry) for path, entry in sorted(self.files.items())]
        documents: dict[str, Any] = {
            "info/index.json": index,
            "info/paths.json": {"paths_version": 1, "paths": paths},
            "info/about.json": {"summary": f"{self.name}, made for a test"},
        }
        if self.noarch == "python":
            documents["info/link.json"] = {
                "noarch": {"type": "python", "entry_points": list(self.entry_points)},
                "package_metadata_version": 1,
            }
        info = {name: Entry(content=json.dumps(document).encode()) for name, document in documents.items()}
        info["info/files"] = Entry(content="".join(f"{path}\n" for path in sorted(self.files)).encode())
        return info

    @staticmethod
    def _path_entry(path: str, entry: Entry) -> dict[str, Any]:
        described: dict[str, Any] = {
            "_path": path,
            "path_type": "softlink" if entry.target else "hardlink",
            "sha256": hashlib.sha256(entry.content).hexdigest(),
            "size_in_bytes": len(entry.content),
        }
        if entry.rewrite:
            described |= {"prefix_placeholder": PLACEHOLDER, "file_mode": entry.rewrite}
        return described


def _store(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    archive.writestr(zipfile.ZipInfo(name, (2023, 1, 1, 0, 0, 0)), content)


def _compressed_tar(entries: dict[str, Entry]) -> bytes:
    buffer = io.BytesIO()
    with zstandard.ZstdCompressor(level=1).stream_writer(buffer, closefd=False) as stream:
        _write_tar(stream, entries)
    return buffer.getvalue()


def _write_tar(stream: IO[bytes], entries: dict[str, Entry]) -> None:
    with tarfile.open(fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT) as archive:
        for path, entry in sorted(entries.items()):
            member = tarfile.TarInfo(path)
            member.mtime = TIMESTAMP_MS // 1000
            if entry.target is not None:
                member.type, member.linkname = tarfile.SYMTYPE, entry.target
            else:
                member.size, member.mode = len(entry.content), entry.mode
            archive.addfile(member, io.BytesIO(entry.content))
