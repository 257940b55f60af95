"""Walking through JSON-like documents, for tests that change one thing anywhere in them."""

from __future__ import annotations

from typing import Any


def key_paths(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    """Every key path in a document, tables and lists included."""
    inner: list[tuple[str | int, Any]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    if isinstance(value, list):
        inner = list(enumerate(value))
    return [step for key, one in inner for step in [(*path, key), *key_paths(one, (*path, key))]]
