"""Modules that are not installed here, for as long as pickle needs to find names in them."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any


@contextmanager
def stand_in(modules: Mapping[str, Mapping[str, Any]]) -> Iterator[None]:
    """Put stand-ins, by module and name, where Python looks for the real ones; take them away again."""
    before = {name: sys.modules.get(name) for name in modules}
    origins = {value: value.__module__ for values in modules.values() for value in values.values()}
    for name, values in modules.items():
        module = types.ModuleType(name)
        module.__dict__.update(values)
        sys.modules[name] = module
        for value in values.values():
            value.__module__ = name
    try:
        yield
    finally:
        for name, own in before.items():
            if own is None:
                del sys.modules[name]
            else:
                sys.modules[name] = own
        for value, origin in origins.items():
            value.__module__ = origin
