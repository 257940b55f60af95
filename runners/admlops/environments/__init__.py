"""Environments built from hashed locks: what is specified, what is there, and how one becomes the other.

An environment is a prefix and a set of variables; nothing else in the product knows how it was built. Imports catalog,
downloads, doctor and health. Begin with `ensure`, then `prefix`, `install` and `integrity`.
"""

from __future__ import annotations

from admlops.environments.ensure import (
    ensure,
    ensure_model,
    ensure_official,
    ensure_tool,
    find_model,
    find_official,
    find_tool,
)
from admlops.environments.prefix import Environment
from admlops.environments.spec.environment_spec import EnvironmentSpec

__all__ = [
    "Environment",
    "EnvironmentSpec",
    "ensure",
    "ensure_model",
    "ensure_official",
    "ensure_tool",
    "find_model",
    "find_official",
    "find_tool",
]
