"""What an adapter needs of its model's catalogue entry, where Python has no TOML reader yet."""

import os
import re
import sys
from typing import Any, Dict

_ENTRY = re.compile(r"""^\s*"?([A-Za-z0-9][\w.-]*)"?\s*=\s*["']([^"']+)["']\s*(#.*)?$""")


def read_configs(adapter: Any) -> Dict[str, str]:
    """The configs of the `model.toml` beside an adapter's file, by name: paths relative to the source's root.

    The host has checked the file; here only its table of texts is read. Empty where there is no such file.
    """
    module = sys.modules.get(type(adapter).__module__)
    folder = os.path.dirname(os.path.abspath(getattr(module, "__file__", None) or ""))
    try:
        with open(os.path.join(folder, "model.toml"), encoding="utf-8") as file:
            return read_table(file.read(), "configs")
    except OSError:
        return {}


def read_table(text: str, table: str) -> Dict[str, str]:
    """The entries `name = "text"` of one of a TOML file's tables."""
    inside, found = False, {}
    for line in text.splitlines():
        if line.strip().startswith("["):
            inside = line.partition("#")[0].strip() == "[{}]".format(table)
            continue
        entry = _ENTRY.match(line)
        if inside and entry:
            found[entry.group(1)] = entry.group(2)
    return found
