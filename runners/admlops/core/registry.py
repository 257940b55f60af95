"""Things of one kind by their id: the built-in ones by name, imported when asked for, and those of extensions.

An extension is a Python package that declares an entry point in the group `admlops.extensions`; the module that the
entry point names calls `register` on the registries it adds to. It is imported once, before the first look into any
registry, so a command that needs no registry pays for no extension.
"""

from __future__ import annotations

import difflib
import importlib
import threading
from collections.abc import Iterator, Mapping
from importlib.metadata import entry_points
from typing import Any, Generic, TypeVar

from admlops.core.errors import UsageError

ENTRY_POINT_GROUP = "admlops.extensions"

Thing = TypeVar("Thing")
_lock = threading.RLock()
_extensions_are_loaded = False


class Registry(Generic[Thing]):
    """Ids and what they stand for.

    Args:
        kind: what one of them is called in messages, such as "task".
        built_in: id → "module:attribute", in the order in which they are listed.
    """

    def __init__(self, kind: str, built_in: Mapping[str, str]) -> None:
        self.kind = kind
        self._places = dict(built_in)
        self._things: dict[str, Thing] = {}

    def register(self, identifier: str, thing: Thing) -> Thing:
        """Add `thing` under an id of its own, and return it.

        Raises:
            ValueError: the id is taken by something else.
        """
        with _lock:
            if identifier in self._places or self._things.get(identifier, thing) is not thing:
                raise ValueError(f"there is a {self.kind} {identifier!r} already")
            self._things[identifier] = thing
        return thing

    def ids(self) -> tuple[str, ...]:
        """Every id: the built-in ones first, then those of extensions in the order of their registration."""
        load_extensions()
        return tuple(dict.fromkeys([*self._places, *self._things]))

    def get(self, identifier: str) -> Thing:
        """Return what `identifier` stands for.

        Raises:
            UsageError: nothing is registered under it; the message lists the ids that exist.
        """
        load_extensions()
        with _lock:
            if identifier not in self._things:
                if identifier not in self._places:
                    raise UsageError(self.describe_unknown(identifier), hint=f"use one of: {', '.join(self.ids())}")
                self._things[identifier] = resolve(self._places[identifier])
            return self._things[identifier]

    def describe_unknown(self, identifier: object) -> str:
        """Say that there is no such id, which ones there are, and which is most like it."""
        near = difflib.get_close_matches(str(identifier), self.ids(), n=1)
        meant = f"; did you mean {near[0]}?" if near else ""
        return f"there is no {self.kind} {identifier!r}{meant} (there are: {', '.join(self.ids())})"

    def values(self) -> Iterator[Thing]:
        """Everything that is registered, in the order of `ids`."""
        return (self.get(identifier) for identifier in self.ids())

    def __contains__(self, identifier: object) -> bool:
        return identifier in self.ids()


def resolve(place: str) -> Any:
    """Import "module:attribute" and return the attribute."""
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def load_extensions() -> None:
    """Import every installed extension, once a process.

    Raises:
        UsageError: an extension cannot be imported; the message names its entry point.
    """
    global _extensions_are_loaded
    with _lock:
        if _extensions_are_loaded:
            return
        _extensions_are_loaded = True  # first, because an extension looks into registries while it is imported
        for entry_point in entry_points(group=ENTRY_POINT_GROUP):
            try:
                entry_point.load()
            except Exception as error:  # third-party code: its import may raise anything
                _extensions_are_loaded = False
                package = entry_point.dist.name if entry_point.dist is not None else entry_point.value
                raise UsageError(
                    f"the extension {entry_point.name} ({entry_point.value}) cannot be imported: "
                    f"{type(error).__name__}: {error}",
                    hint=f".venv/bin/pip uninstall {package}   # or mend it",
                ) from error
