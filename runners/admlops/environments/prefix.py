"""An environment on disk: a prefix, and the state file that says what it is and whether it is complete."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.environments.activation import read_activation

STATE_FILE = "admlops-environment.json"
STATE_SCHEMA = 2
SENTINEL = "made-by-admlops"
"""A file that says a prefix may be removed and rebuilt."""
MANIFEST_FILE = "admlops-manifest.json"
"""The list of the prefix's files, see `integrity.manifest`."""
LEGACY_CONTENTS_FILE = "admlops-contents.json"
"""The list that admlops 0.1 wrote; it names no packages and is not read."""
INSTALLER_KEY = "backend"
"""The installer's key in state files and in run headers. It keeps its first name, because folders of environments,
packs and runs are shared with checkouts that read no other."""


@dataclass(frozen=True, kw_only=True)
class Environment:
    """A ready environment: run `python` with `variables` (None unsets one). `device` is None where it serves both."""

    name: str
    prefix: Path
    python: Path
    digest: str
    installer: str
    device: str | None = None
    variables: Mapping[str, str | None] = field(default_factory=dict)

    @classmethod
    def load(cls, prefix: Path, *, digest: str) -> Environment | None:
        """Read the environment at `prefix`; None unless it is ready, has this digest, a Python and its variables."""
        state = read_state(prefix)
        python = prefix / "bin" / "python"
        if state is None or state["state"] != "ready" or state["digest"] != digest or not python.exists():
            return None
        variables = read_activation(prefix)
        if variables is None:
            return None
        return cls(
            name=state["name"],
            prefix=prefix,
            python=python,
            digest=digest,
            installer=state[INSTALLER_KEY],
            device=state.get("device"),
            variables=variables,
        )


def read_state(prefix: Path) -> dict[str, Any] | None:
    """Read the state file of a prefix; None if there is none of this schema."""
    try:
        state = json.loads((prefix / STATE_FILE).read_text())
    except (OSError, ValueError):
        return None
    return state if isinstance(state, dict) and state.get("schema") == STATE_SCHEMA else None


def write_state(
    prefix: Path, *, name: str, state: str, digest: str, installer: str, details: Mapping[str, Any]
) -> None:
    """Write the state file. It is written last, so a prefix that says ready is complete.

    It is not flushed to the disk: the files that it describes are not either, and a flush waits for all of them.
    """
    fixed = {"schema": STATE_SCHEMA, "name": name, "state": state, "digest": digest, INSTALLER_KEY: installer}
    write_atomically(prefix / STATE_FILE, json.dumps({**fixed, **details}, indent=2).encode() + b"\n", sync=False)


def details_of(state: Mapping[str, Any]) -> dict[str, Any]:
    """Select what a state file says beyond what `write_state` is given by name."""
    fixed = ("schema", "name", "state", "digest", INSTALLER_KEY)
    return {key: value for key, value in state.items() if key not in fixed}


def prefix_of(layout: Layout, name: str, digest: str) -> Path:
    """Name the place of an environment: name and beginning of the digest, so a new lock never changes an old prefix."""
    return layout.environments / f"{name}-{digest[:12]}"


def lock_of(prefix: Path) -> Path:
    """Name the lock file of a prefix; whoever builds, repairs or removes it holds it."""
    return prefix.with_name(f"{prefix.name}.lock")
