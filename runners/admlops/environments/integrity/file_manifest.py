"""What an environment consists of: every file with its hash, every link, every folder.

The list of a finished environment lies in its prefix, written before the state says `ready`. By it an environment that
was removed and set aside is taken back; a pack has such a list beside its archive.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import msgspec
from blake3 import blake3

from admlops.core.errors import EnvError
from admlops.core.storage import explain_os_error, write_atomically
from admlops.core.types import Watch
from admlops.environments.prefix import SENTINEL, STATE_FILE

SCHEMA = 1
CONTENTS_FILE = "admlops-contents.json"
LEFT_OUT = (STATE_FILE, SENTINEL, CONTENTS_FILE)
"""Written anew by whoever makes an environment: the state file must come last."""
INTERPRETER_LINKS = ("bin/python", "bin/python3")
"""The links by which a virtual environment may lead to a Python outside."""
BLOCK_BYTES = 1 << 20
SHARE_FILES = 256
"""So many files a thread takes at a time."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    """One member: `content` is the BLAKE3 of a file (hexadecimal), or where a link points; "" for a folder.

    `offset` is where a file's content begins in an uncompressed archive [bytes]; `mtime_s` is its time of change.
    """

    path: str
    kind: Literal["file", "link", "folder"]
    mode: int
    size_bytes: int
    content: str
    offset: int = 0
    mtime_s: int = 0


class Interpreter(msgspec.Struct, frozen=True):
    """The Python outside the prefix that a virtual environment links to."""

    link: str
    target: str
    version: str


class Contents(msgspec.Struct, frozen=True, kw_only=True):
    """An environment. `prefix` is absolute: it runs only where it was built. `state` is of its state file."""

    schema: int
    name: str
    digest: str
    prefix: str
    state: Mapping[str, Any]
    interpreter: Interpreter | None
    entries: tuple[Entry, ...]

    @property
    def size_bytes(self) -> int:
        """The bytes of all files."""
        return sum(entry.size_bytes for entry in self.entries)

    def why_unfit(self, prefix: Path, digest: str) -> str | None:
        """Why this cannot become the environment `digest` at `prefix`, or None."""
        if self.digest != digest:
            return "its environment was built from other locks"
        if self.prefix != str(prefix):
            return f"its environment runs only at {self.prefix} (export ADMLOPS_ENVIRONMENTS to have it there)"
        if self.interpreter is not None and not os.access(self.interpreter.target, os.X_OK):
            return f"it needs Python {self.interpreter.version} at {self.interpreter.target}"
        return None

    def why_unsafe(self) -> str | None:
        """Why this list must not be followed, or None.

        No entry lies outside the prefix, in a linked folder or twice; no link leaves the prefix.
        """
        kinds: dict[str, str] = {}
        for entry in self.entries:  # tens of thousands, as text: no Path is made for them
            if not {"", ".", ".."}.isdisjoint(entry.path.split("/")):
                return f"{entry.path!r} is not a path inside an environment"
            if entry.path in kinds:
                return f"{entry.path!r} is listed twice"
            parent = entry.path.rpartition("/")[0]
            if parent and kinds.get(parent) != "folder":
                return f"{entry.path!r} does not lie in a folder of the environment"
            if entry.kind == "link" and not stays_inside(entry.path, entry.content, self.prefix):
                return f"the link {entry.path!r} leads out of the environment, to {entry.content!r}"
            kinds[entry.path] = entry.kind
        outside = self.interpreter
        if outside is not None and (
            outside.link not in INTERPRETER_LINKS or outside.link in kinds or kinds.get("bin") != "folder"
        ):
            return f"{outside.link!r} is no place for a link to a Python"
        return None


class WrongContentError(Exception):
    """Something holds something else than its list says."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a prefix holds. It is not `whole` if there is what no list can hold: a socket, a link that leaves it."""

    entries: tuple[Entry, ...]
    interpreter: Interpreter | None
    whole: bool = True

    def write(self, prefix: Path, *, name: str, digest: str, state: Mapping[str, Any]) -> None:
        """Write the list into the prefix if it is whole, with what the state file is about to say.

        Raises:
            StorageError: it cannot be written.
        """
        if not self.whole:
            return
        contents = Contents(
            schema=SCHEMA,
            name=name,
            digest=digest,
            prefix=str(prefix),
            state=state,
            interpreter=self.interpreter,
            entries=self.entries,
        )
        write_atomically(prefix / CONTENTS_FILE, msgspec.json.encode(contents) + b"\n")


def read_contents(folder: Path) -> Contents | None:
    """The list in a folder, or None if there is none that can be followed."""
    try:
        contents = msgspec.json.decode((folder / CONTENTS_FILE).read_bytes(), type=Contents)
    except (OSError, msgspec.DecodeError):
        return None
    return contents if contents.schema == SCHEMA and contents.why_unsafe() is None else None


def list_contents(prefix: Path, watch: Watch | None = None) -> Found:
    """Hash every file of a prefix, in a few threads.

    Raises:
        StorageError: something cannot be read.
    """
    entries: list[Entry] = []
    interpreter, whole = None, True
    try:
        for path, status in walk(prefix):
            outside = interpreter_link(prefix, path, status)
            if outside is not None:
                interpreter = outside
                continue
            try:
                entries.append(describe(prefix, path, status))
            except EnvError:
                whole = False
        hashes = hash_files([entry for entry in entries if entry.kind == "file"], prefix, watch)
    except OSError as error:
        raise explain_os_error(error, prefix) from error
    hashed = (
        msgspec.structs.replace(entry, content=hashes[entry.path]) if entry.kind == "file" else entry
        for entry in entries
    )
    return Found(entries=tuple(hashed), interpreter=interpreter, whole=whole)


def hash_files(files: list[Entry], prefix: Path, watch: Watch | None = None) -> dict[str, str]:
    """The BLAKE3 of what lies at `prefix` by path, hashed in a few threads. Raises OSError."""
    total, done = sum(entry.size_bytes for entry in files), 0
    hashes: dict[str, str] = {}
    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        for share in pool.map(lambda share: _hash_share(share, prefix), shares_of(files)):
            hashes |= {entry.path: content for entry, content in share}
            done += sum(entry.size_bytes for entry, _ in share)
            if watch is not None:
                watch(done, total)
    return hashes


def shares_of(files: list[Entry]) -> list[list[Entry]]:
    """The files in lists that one thread takes at a time."""
    return [files[start : start + SHARE_FILES] for start in range(0, len(files), SHARE_FILES)]


def _hash_share(share: list[Entry], prefix: Path) -> list[tuple[Entry, str]]:
    buffer = memoryview(bytearray(BLOCK_BYTES))
    return [(entry, hash_file(f"{prefix}/{entry.path}", buffer)) for entry in share]


def hash_file(path: str, buffer: memoryview | None = None) -> str:
    """The BLAKE3 of a file, hexadecimal; read rather than mapped, so that a disk that fails gives an OSError.

    Whoever hashes many small files gives a `buffer` for all of them.
    """
    digest = blake3()
    if buffer is None:
        buffer = memoryview(bytearray(BLOCK_BYTES))
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123
        while size := file.readinto(buffer):
            digest.update(buffer[:size])
    return str(digest.hexdigest())


def walk(prefix: Path) -> Iterator[tuple[str, os.stat_result]]:
    """(path relative to the prefix, status), folders before what is in them, in an order that does not vary."""
    folders = [""]
    while folders:
        folder = folders.pop()
        with os.scandir(prefix / folder) as listing:
            for item in sorted(listing, key=lambda item: item.name):
                path = f"{folder}/{item.name}" if folder else item.name
                if path in LEFT_OUT:
                    continue
                yield path, item.stat(follow_symlinks=False)
                if item.is_dir(follow_symlinks=False):
                    folders.append(path)


def describe(prefix: Path, path: str, status: os.stat_result) -> Entry:
    """What lies there, but for the content of a file.

    Raises:
        EnvError: it is a socket or the like, or a link that leaves the environment.
    """
    mode = stat.S_IMODE(status.st_mode)
    if stat.S_ISDIR(status.st_mode):
        return Entry(path=path, kind="folder", mode=mode, size_bytes=0, content="")
    if stat.S_ISLNK(status.st_mode):
        target = str((prefix / path).readlink())
        if not stays_inside(path, target, str(prefix)):
            raise EnvError(
                f"{prefix / path} links to {target}, outside the environment, so it cannot be packed",
                hint=f"admlops env repair {prefix.name}   # or remove the link: rm {prefix / path}",
            )
        return Entry(path=path, kind="link", mode=mode, size_bytes=0, content=target)
    if not stat.S_ISREG(status.st_mode):
        raise EnvError(f"{prefix / path} is neither file, folder nor link", hint=f"rm {prefix / path}")
    mtime_s = int(status.st_mtime)  # bytecode names the whole second of its source
    return Entry(path=path, kind="file", mode=mode, size_bytes=status.st_size, content="", mtime_s=mtime_s)


def interpreter_link(prefix: Path, path: str, status: os.stat_result) -> Interpreter | None:
    """The Python outside that a virtual environment's `bin/python` links to."""
    if not stat.S_ISLNK(status.st_mode) or path not in INTERPRETER_LINKS:
        return None
    target = str((prefix / path).readlink())
    if stays_inside(path, target, str(prefix)):
        return None
    return Interpreter(link=path, target=target, version=_venv_version(prefix))


def _venv_version(prefix: Path) -> str:
    """The Python version that a virtual environment was made for, from its pyvenv.cfg."""
    for line in (prefix / "pyvenv.cfg").read_text().splitlines():
        name, _, value = line.partition("=")
        if name.strip() in ("version_info", "version"):
            return value.strip()
    raise EnvError(f"{prefix / 'pyvenv.cfg'} does not say which Python it is for", hint=f"admlops env verify {prefix}")


def stays_inside(path: str, target: str, prefix: str) -> bool:
    """Whether a link at `path` (relative to the prefix) that points at `target` stays in the prefix."""
    joined = PurePosixPath(prefix) / PurePosixPath(path).parent / target
    depth: list[str] = []
    for part in joined.parts[1:]:
        if part == "..":
            if not depth:
                return False
            depth.pop()
        else:
            depth.append(part)
    inside = PurePosixPath(prefix).parts[1:]
    return tuple(depth[: len(inside)]) == inside


def complete(contents: Contents, prefix: Path) -> None:
    """What comes last, when all files, links and folders are there: modes of folders, and the link to a Python.

    Raises:
        WrongContentError: links that each stay inside leave together, or the Python is not there.
        OSError: something cannot be changed.
    """
    inside = os.path.realpath(prefix) + os.sep
    for entry in contents.entries:
        if entry.kind == "link" and not os.path.realpath(prefix / entry.path).startswith(inside):
            raise WrongContentError(f"its link {entry.path!r} leads out of the environment")
    for entry in reversed(contents.entries):
        if entry.kind == "folder":
            (prefix / entry.path).chmod(entry.mode)
    if contents.interpreter is not None:
        _link_interpreter(contents.interpreter, prefix)


def _link_interpreter(interpreter: Interpreter, prefix: Path) -> None:
    if not os.access(interpreter.target, os.X_OK):
        raise WrongContentError(f"it needs Python {interpreter.version} at {interpreter.target}")
    (prefix / interpreter.link).symlink_to(interpreter.target)
