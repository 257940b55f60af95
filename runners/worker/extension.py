"""The package `extension` in a model's folder: what a variant adds to the source, which stays as it is pinned."""

import importlib
import os
import sys
from typing import Any

EXTENSION = "extension"


def folder_of(adapter: Any) -> str:
    """The folder that the file of an adapter's class lies in: that of its model."""
    module = sys.modules.get(adapter.__module__)
    return os.path.dirname(os.path.abspath(getattr(module, "__file__", None) or ""))


def import_extension(folder: str) -> bool:
    """Import the package of a model's folder; says whether there is one."""
    if not os.path.isfile(os.path.join(folder, EXTENSION, "__init__.py")):
        return False
    if folder not in sys.path:
        sys.path.insert(0, folder)
    importlib.import_module(EXTENSION)
    return True
