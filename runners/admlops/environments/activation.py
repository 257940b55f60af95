"""The variables that activate an environment: computed once when it is built, and kept in a file beside its state."""

from __future__ import annotations

import json
from pathlib import Path

from admlops.core.processes import LEAKING_VARIABLES
from admlops.core.storage import write_atomically

ACTIVATION_FILE = "admlops-activation.json"
ACTIVATION_SCHEMA = 1
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

Variables = dict[str, str | None]
"""Variables of a process; None means that one must not be set."""


def isolating_variables() -> Variables:
    """Give the variables that keep every environment apart from the caller's own."""
    return {**dict.fromkeys(sorted(LEAKING_VARIABLES)), "PYTHONNOUSERSITE": "1"}


def search_path_of(prefix: Path) -> str:
    """Give the PATH of a process in the environment."""
    return f"{prefix / 'bin'}:{SYSTEM_PATH}"


def write_activation(prefix: Path, variables: Variables) -> Variables:
    """Keep an environment's variables beside its state; gives them back."""
    content = {"schema": ACTIVATION_SCHEMA, "prefix": str(prefix), "variables": variables}
    write_atomically(prefix / ACTIVATION_FILE, json.dumps(content, indent=2).encode() + b"\n")
    return variables


def read_activation(prefix: Path) -> Variables | None:
    """Read the variables that were kept; None if there are none, or if they were computed for another prefix."""
    try:
        content = json.loads((prefix / ACTIVATION_FILE).read_text())
        if content["schema"] != ACTIVATION_SCHEMA or content["prefix"] != str(prefix):
            return None
        variables = content["variables"].items()
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return {str(name): None if value is None else str(value) for name, value in variables}
