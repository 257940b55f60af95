"""What models may name: things of each kind by their id. An extension adds to them with `register`."""

from __future__ import annotations

from admlops.catalog.runtimes import Runtime
from admlops.core.registry import Registry

RUNTIMES: Registry[Runtime] = Registry("runtime", {"torch": "admlops.catalog.runtimes:TORCH"})
"""What executes a network."""
