"""Libraries of a model's environment, loaded when they are needed and never before."""

import importlib
from typing import Any, Dict, Sequence

from .log import say


def load_library(name: str) -> Any:
    """The module `name`; untyped, because these libraries ship no types."""
    return importlib.import_module(name)


def versions(names: Sequence[str]) -> Dict[str, str]:
    """The versions of those of the libraries that can be imported; their output stays out of the protocol's way."""
    found = {}
    for name in names:
        try:
            module = load_library(name)
        except ImportError:
            say("{} cannot be imported".format(name))
            continue
        found[name] = str(getattr(module, "__version__", "unknown"))
    return found
