"""Environments that were removed and set aside: an installation takes one back if it is as it was built.

Whoever installs an environment on the machine where it was removed has all of its files already, so they are hashed
where they lie instead of being written anew. What was added since goes; if anything else differs, nothing is taken.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.core.types import Say, Watch
from admlops.environments.integrity.file_manifest import (
    LEFT_OUT,
    Contents,
    Entry,
    WrongContentError,
    complete,
    hash_files,
    read_contents,
)
from admlops.environments.prefix import SENTINEL, STATE_FILE, read_state
from admlops.environments.reuse.libraries import is_library

ASIDE_SUFFIX = ".aside"


def aside_of(prefix: Path) -> Path:
    """Where the environment of a prefix lies while it is set aside, on the same disk."""
    return prefix.with_name(f".{prefix.name}{ASIDE_SUFFIX}")


def prefix_aside(aside: Path) -> Path:
    """Where the environment lay that was set aside here."""
    return aside.with_name(aside.name.removeprefix(".").removesuffix(ASIDE_SUFFIX))


def folders_aside(layout: Layout) -> list[Path]:
    """Where what was set aside here lies."""
    return sorted(layout.environments.glob(f".*{ASIDE_SUFFIX}"))


def list_aside(layout: Layout) -> Iterator[tuple[Path, Contents]]:
    """What can come back of it: where it lies, and what it consisted of."""
    for aside in folders_aside(layout):
        contents = read_contents(aside)
        if contents is not None:
            yield aside, contents


def can_come_back(prefix: Path) -> bool:
    """Whether an environment is ready and what it consists of was written down."""
    state = read_state(prefix)
    return state is not None and state["state"] == "ready" and read_contents(prefix) is not None


def set_aside(prefix: Path) -> None:
    """Take an environment out of sight in one step, its files as they are. The caller holds its lock.

    Raises:
        OSError: it cannot be moved, or another one is there.
    """
    (prefix / STATE_FILE).unlink(missing_ok=True)
    prefix.rename(aside_of(prefix))


def contents_aside(prefix: Path, *, digest: str) -> Contents | None:
    """What the environment `digest` consisted of that was set aside from `prefix`; None if there is none that fits."""
    contents = read_contents(aside_of(prefix))
    return None if contents is None or contents.why_unfit(prefix, digest) is not None else contents


def restore_from_aside(prefix: Path, *, digest: str, say: Say, watch: Watch | None = None) -> Mapping[str, Any] | None:
    """Put the environment `digest` at `prefix` again, if it was set aside and is as it was; what its state file said.

    `prefix` must hold nothing but what admlops wrote there. None if there is no such environment, or if it was changed:
    what is left of it then lies at `prefix`, for the caller to clear.

    Raises:
        StorageError: something cannot be read, moved or removed.
    """
    contents = contents_aside(prefix, digest=digest)
    if contents is None:
        return None
    try:
        different = _take_back(contents, prefix, watch)
        if different:
            shown = f"{min(different)}{' and others' if len(different) > 1 else ''}"
            say(f"{prefix.name} was set aside, but changed since it was built ({shown}); it is not taken back")
            return None
        complete(contents, prefix)
    except WrongContentError as error:
        say(f"{prefix.name} was set aside, but {error}; it is not taken back")
        return None
    except OSError as error:
        raise explain_os_error(error, prefix) from error
    return contents.state


def _take_back(contents: Contents, prefix: Path, watch: Watch | None) -> set[str]:
    """Move what was set aside to `prefix` and remove what was added [the paths that are not as listed]."""
    aside = aside_of(prefix)
    for name in (STATE_FILE, SENTINEL):
        if (prefix / name).exists():
            (prefix / name).replace(aside / name)
    aside.rename(prefix)
    alike = _alike(contents, prefix)
    different = {entry.path for entry in contents.entries} - alike
    if different:
        return different
    files = [entry for entry in contents.entries if entry.kind == "file"]
    hashes = hash_files(files, prefix, watch)
    return {entry.path for entry in files if hashes[entry.path] != entry.content}


def _alike(contents: Contents, prefix: Path) -> set[str]:
    """The paths that look as listed, contents of files aside; what is not listed is removed on the way.

    A time of change that is not as listed is put right, for bytecode names its source's.
    """
    wanted = {entry.path: entry for entry in contents.entries}
    found, folders = set(), [""]
    while folders:
        folder = folders.pop()
        with os.scandir(prefix / folder) as listing:
            items = list(listing)
        for item in items:
            path = f"{folder}/{item.name}" if folder else item.name
            if path in LEFT_OUT:
                continue
            entry = wanted.get(path)
            if entry is None:
                _remove(item)
            elif _looks_like(item, entry):
                found.add(path)
                if entry.kind == "folder":
                    os.chmod(item.path, 0o700)  # noqa: PTH101 - its own mode comes last
                    folders.append(path)
                elif entry.kind == "file" and int(item.stat().st_mtime) != entry.mtime_s and item.stat().st_nlink == 1:
                    os.utime(item.path, (entry.mtime_s, entry.mtime_s))
    return found


def _looks_like(item: os.DirEntry[str], entry: Entry) -> bool:
    status = item.stat(follow_symlinks=False)
    if entry.kind == "folder":
        return stat.S_ISDIR(status.st_mode)
    if entry.kind == "link":
        return stat.S_ISLNK(status.st_mode) and os.readlink(item.path) == entry.content  # noqa: PTH115
    if not stat.S_ISREG(status.st_mode):
        return False
    # Whoever linked a text out of the environment may still write into it; libraries have names elsewhere.
    own = status.st_nlink == 1 or is_library(entry.path, entry.size_bytes)
    return own and (stat.S_IMODE(status.st_mode), status.st_size) == (entry.mode, entry.size_bytes)


def _remove(item: os.DirEntry[str]) -> None:
    if item.is_dir(follow_symlinks=False):
        shutil.rmtree(item.path)
    else:
        os.unlink(item.path)  # noqa: PTH108
