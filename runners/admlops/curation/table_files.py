"""The SQL that reads one JSON table of nuScenes' schema from its file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from admlops.core.errors import DataError
from admlops.datasets.nuscenes.annotations import UNPACK

MOST_ROW_BYTES = 1 << 24


def read_table(folder: Path, name: str, kinds: Mapping[str, str]) -> str:
    """Return a table function for `<folder>/<name>.json`, a JSON list of objects; columns have SQL's types.

    Raises:
        DataError: there is no such file.
    """
    path = folder / f"{name}.json"
    if not path.is_file():
        raise DataError(f"{path} is missing", hint=UNPACK)
    columns = ", ".join(f"{key}: '{kind}'" for key, kind in kinds.items())
    quoted = str(path).replace("'", "''")
    options = f"format = 'array', columns = {{{columns}}}, maximum_object_size = {MOST_ROW_BYTES}"
    return f"read_json('{_escape(quoted)}', {options})"


def _escape(path: str) -> str:
    """Keep DuckDB from reading a path as a pattern for several files."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in path)
