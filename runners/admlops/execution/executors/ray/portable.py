"""Paths that mean the same on every machine: what lies in a checkout, its repository or its environments has a token.

`/workspace/admlops/envs/MapTR/demo.py` travels as `{checkout}/envs/MapTR/demo.py`, and each node puts its own folder
in the token's place. A path outside of all of them travels as it is and must be there on the node.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from blake3 import blake3

from admlops.core.errors import UsageError
from admlops.core.paths import Layout


def make_portable(value: Any, layout: Layout) -> Any:
    """Return the value with a token in place of each folder of this installation that a path in it begins with."""
    if isinstance(value, str):
        return _replace_folder(value, layout) if value.startswith("/") else value
    return _inside(value, lambda one: make_portable(one, layout))


def make_local(value: Any, layout: Layout) -> Any:
    """Return the value with this installation's folders in place of tokens."""
    if isinstance(value, str):
        for token, folder in _folders(layout):
            if value == token or value.startswith(f"{token}/"):
                return str(folder) + value.removeprefix(token)
        return value
    return _inside(value, lambda one: make_local(one, layout))


def describe_files(value: Any, layout: Layout) -> dict[str, str]:
    """Return path → BLAKE3 of every file of this machine that is named in `value`, the paths with tokens."""
    return {
        make_portable(text, layout): hash_file(Path(text))
        for text in _texts(value)
        if text.startswith("/") and Path(text).is_file()
    }


def check_files(files: Mapping[str, str], layout: Layout) -> None:
    """Compare files of this machine with the driver's.

    Raises:
        UsageError: one is missing, or has another content.
    """
    for portable, digest in files.items():
        path = Path(make_local(portable, layout))
        if not path.is_file():
            raise UsageError(
                f"{path} is not there, and the run needs it",
                hint=f"put it there   # admlops checkpoints fetch MODEL brings weights; scp {path} is another way",
            )
        if hash_file(path) != digest:
            raise UsageError(
                f"{path} is not the file that the run was planned with",
                hint=f"scp {path}   # from the machine where you typed the command, to this node",
            )


def hash_file(path: Path) -> str:
    """Return the BLAKE3 of a file's content."""
    return str(blake3(max_threads=blake3.AUTO).update_mmap(path).hexdigest())


def _folders(layout: Layout) -> Iterator[tuple[str, Path]]:
    yield "{environments}", layout.environments
    yield "{data}", layout.data
    yield "{repository}", layout.repository
    yield "{checkout}", layout.root


def _replace_folder(text: str, layout: Layout) -> str:
    for token, folder in _folders(layout):
        # A folder of the repository may be a link to another disk.
        for prefix in (str(folder), str(folder.resolve())):
            if text == prefix or text.startswith(f"{prefix}/"):
                return token + text.removeprefix(prefix)
    return text


def _inside(value: Any, change: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: change(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [change(one) for one in value]
    return value


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list | tuple):
        for one in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(one)
