"""The code that a machine has: what all machines of a cluster must have alike."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from typing import Any

from admlops import __version__
from admlops.core.errors import UsageError
from admlops.core.paths import PACKAGE, Layout, find_layout
from admlops.health.machine import describe_machine
from admlops.sources.provenance import describe_code, describe_commit


def describe_node() -> dict[str, Any]:
    """Describe this machine and the code that it has: `machine`, `code` and where its checkout is."""
    layout = find_layout()
    return {"machine": describe_machine(), "code": describe_host(layout), "checkout": str(layout.root)}


def describe_host(layout: Layout) -> dict[str, Any]:
    """Describe the host's own code: version, commit, digest over its files, and its Python."""
    return {
        "admlops": __version__,
        "commit": describe_commit(layout),
        "host": describe_code(PACKAGE),
        "python": platform.python_version(),
    }


def require_same(here: Mapping[str, Any], wanted: Mapping[str, Any], *, where: str) -> None:
    """Raises UsageError where the code differs; the message names what and both values."""
    for name, value in wanted.items():
        if here.get(name) != value:
            raise UsageError(
                f"{where} has other code: its {name} is {here.get(name)}, the driver's {value}",
                hint="git fetch && git checkout COMMIT && git submodule update   # there, as on the driver's machine",
            )
