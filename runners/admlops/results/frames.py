"""Tables as data frames of pandas or polars, whichever a person has; neither is needed otherwise."""

from __future__ import annotations

import importlib
from collections.abc import Iterable
from types import MappingProxyType
from typing import Any, Literal

from admlops.core.errors import MissingExtraError, UsageError
from admlops.results.tables import Columns, Row

Library = Literal["pandas", "polars"]
LIBRARIES = ("pandas", "polars")

_PANDAS = MappingProxyType({"VARCHAR": "string", "INTEGER": "Int64", "DOUBLE": "Float64", "BOOLEAN": "boolean"})
_POLARS = MappingProxyType({"VARCHAR": "String", "INTEGER": "Int64", "DOUBLE": "Float64", "BOOLEAN": "Boolean"})
"""DuckDB's types of `results.tables` → a library's types in which a value may be missing."""


def make_frame(columns: Columns, rows: Iterable[Row], *, library: str = "pandas") -> Any:
    """Rows as a data frame; columns keep their types where every value is missing, too.

    Args:
        library: `pandas` or `polars`.

    Raises:
        UsageError: another library is asked for.
        MissingExtraError: the library is not installed.
    """
    module = import_library(library)
    values: list[list[Any]] = [[] for _ in columns]
    for row in rows:
        for column, value in zip(values, row, strict=True):
            column.append(value)
    named = list(zip(columns.items(), values, strict=True))
    if library == "pandas":
        return module.DataFrame({name: module.array(own, dtype=_PANDAS[kind]) for (name, kind), own in named})
    schema = {name: getattr(module, _POLARS[kind]) for (name, kind), _ in named}
    return module.DataFrame({name: own for (name, _), own in named}, schema=schema)


def import_library(library: str) -> Any:
    """Import `pandas` or `polars`. Raises as `make_frame`."""
    if library not in LIBRARIES:
        raise UsageError(f"library={library!r} is neither pandas nor polars", hint='to_frame(library="pandas")')
    try:
        return importlib.import_module(library)
    except ImportError as error:
        raise MissingExtraError(f'to_frame(library="{library}")', library, error) from error
