"""Where the data set lies on each node of a cluster: `NODE=PATH`, or a file of such pairs."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError
from admlops.core.paths import user_path


def read_data_map(given: Iterable[str]) -> dict[str, str]:
    """Return the data set's root by node.

    Raises:
        UsageError: one is neither `NODE=PATH` with an absolute path nor a readable file of such pairs, or a node comes
            twice.
    """
    roots: dict[str, str] = {}
    for text in given:
        node, sign, path = text.partition("=")
        pairs = {node: path} if sign else _read_file(user_path(text), text)
        for name, root in pairs.items():
            if not name or not isinstance(root, str) or not Path(root).is_absolute():
                raise UsageError(
                    f"--data-map {text}: {name or 'a node'} has {root!r}, which is no absolute path",
                    hint="pass --data-map NODE=/data/nuscenes   # admlops cluster status names the nodes",
                )
            if name in roots:
                raise UsageError(f"--data-map names {name} twice", hint="leave one of them out")
            roots[name] = root
    return roots


def _read_file(path: Path, given: str) -> dict[str, Any]:
    hint = 'pass --data-map NODE=PATH, or a file with lines such as: node-1 = "/data/nuscenes"'
    try:
        text = path.read_text(encoding="utf-8")
        content = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise UsageError(f"--data-map {given} cannot be read: {reason}", hint=hint) from error
    except ValueError as error:
        raise UsageError(f"--data-map {given} is neither TOML nor JSON: {error}", hint=hint) from error
    if not isinstance(content, dict):
        raise UsageError(f"--data-map {given} holds no pairs of node and path", hint=hint)
    return content
