"""Rows into DuckDB by way of JSON lines: inserting them one by one would be a hundred times slower."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import duckdb
import msgspec

from admlops.results.tables import Columns, Row

_encode = msgspec.json.Encoder().encode


def append_rows(file: Path, columns: Columns, rows: Iterable[Row]) -> int:
    """Add rows to a JSON-lines file, one object a line, and return how many. Raises OSError."""
    count = 0
    with file.open("ab") as lines:
        for row in rows:
            lines.write(_encode(dict(zip(columns, row, strict=True))) + b"\n")
            count += 1
    return count


def create_table(connection: duckdb.DuckDBPyConnection, table: str, columns: Columns, file: Path) -> None:
    """Make `table` from a file that `append_rows` wrote. Raises duckdb.Error."""
    connection.execute(f"CREATE TABLE {table} ({', '.join(f'{name} {kind}' for name, kind in columns.items())})")
    kinds = ", ".join(f"'{name}': '{kind}'" for name, kind in columns.items())
    connection.execute(
        f"INSERT INTO {table} SELECT * FROM read_json(?, format = 'newline_delimited', columns = {{{kinds}}})",  # noqa: S608  our own names
        [str(file)],
    )
