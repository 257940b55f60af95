"""An environment on disk: a prefix, and the state file that says what it is and whether it is whole."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from admlops.core.paths import Layout
from admlops.core.storage import write_atomically

STATE_FILE = "admlops-environment.json"
STATE_SCHEMA = 2
SENTINEL = "made-by-admlops"
"""A file that says a prefix may be removed and rebuilt."""

Backend = Literal["venv", "conda"]


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A ready environment: run `python` with `variables` (None unsets one). `device` is None where it serves both."""

    name: str
    prefix: Path
    python: Path
    digest: str
    backend: Backend
    device: str | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def load(cls, prefix: Path, *, digest: str) -> Environment | None:
        """The environment at `prefix` if its state is ready and its digest the expected one, else None."""
        from admlops.environments.activation import compute_activation, read_activation

        state = read_state(prefix)
        python = prefix / "bin" / "python"
        if state is None or state["state"] != "ready" or state["digest"] != digest or not python.exists():
            return None
        return cls(
            name=state["name"],
            prefix=prefix,
            python=python,
            digest=digest,
            backend=state["backend"],
            device=state.get("device"),
            variables=read_activation(prefix) or compute_activation(prefix, backend=state["backend"]),
        )


def read_state(prefix: Path) -> dict[str, Any] | None:
    """The state file of a prefix, or None if there is none of this schema."""
    try:
        state = json.loads((prefix / STATE_FILE).read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and state.get("schema") == STATE_SCHEMA else None


def write_state(
    prefix: Path, *, name: str, state: str, digest: str, backend: Backend, details: Mapping[str, Any]
) -> None:
    """Write the state file; it is written last, so a prefix that says ready is whole."""
    content = {"schema": STATE_SCHEMA, "name": name, "state": state, "digest": digest, "backend": backend, **details}
    write_atomically(prefix / STATE_FILE, json.dumps(content, indent=2).encode() + b"\n")


def prefix_of(layout: Layout, name: str, digest: str) -> Path:
    """Where an environment lives: name and beginning of the digest, so a new lock never changes an old prefix."""
    return layout.environments / f"{name}-{digest[:12]}"
