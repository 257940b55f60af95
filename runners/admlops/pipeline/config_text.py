"""Configuration files of mm libraries, which are Python programs: read as text, never run."""

from __future__ import annotations

import ast
import hashlib
import os
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError

_MOST_FILES = 200


def read_variables(text: str) -> dict[str, Any]:
    """The variables of a configuration whose values are plain: numbers, texts, lists and dictionaries of them.

    A tuple counts as a list. Empty for a text that is no Python.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    found: dict[str, Any] = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            try:
                found[name] = _plain(node.value)
            except (ValueError, RecursionError):
                found.pop(name, None)
    return found


def _plain(node: ast.expr) -> Any:
    """The value of an expression. Raises ValueError for one that is not plain."""
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        if any(keyword.arg is None for keyword in node.keywords):
            raise ValueError("a dictionary that takes up another")
        return {str(keyword.arg): _plain(keyword.value) for keyword in node.keywords}
    if isinstance(node, ast.Dict):
        if any(key is None for key in node.keys):
            raise ValueError("a dictionary that takes up another")
        return {
            _plain(key): _plain(value) for key, value in zip(node.keys, node.values, strict=True) if key is not None
        }
    if isinstance(node, (ast.List, ast.Tuple)):
        return [_plain(one) for one in node.elts]
    return ast.literal_eval(node)


def config_sha256(config: str | None) -> str | None:
    """Return the sha256 over a configuration file and those that it includes by `_base_`, as far as they are found.

    None where there is no such file: a model without one, or a source that is not checked out.

    Raises:
        UsageError: the file cannot be read.
    """
    if config is None or not os.path.lexists(config):
        return None
    path = Path(config)
    digest = hashlib.sha256()
    waiting, seen = [path], set[Path]()
    while waiting and len(seen) < _MOST_FILES:
        file = waiting.pop(0)
        if file in seen:
            continue
        seen.add(file)
        try:
            content = file.read_bytes()
        except OSError as error:
            if file == path:
                raise UsageError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
            continue  # the worker looks for it in the model's source, which the run's header names
        digest.update(hashlib.sha256(content).digest())
        waiting.extend(_bases(file, content.decode("utf-8", errors="replace")))
    return digest.hexdigest()


def _bases(file: Path, text: str) -> list[Path]:
    named = read_variables(text).get("_base_", [])
    names = [named] if isinstance(named, str) else named if isinstance(named, list) else []
    return [Path(_normal(file.parent / name)) for name in names if isinstance(name, str)]


def _normal(path: Path) -> str:
    """The path without `..`, as mm libraries resolve it: by its text."""
    return os.path.normpath(path)
