"""A run's records in other programs' formats: JSON lines, CSV and Parquet."""

from __future__ import annotations

import csv
from pathlib import Path

from admlops.results.record_json import decode_record
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder
from admlops.results.tables import TABLES


def export_jsonl(run: RunFolder, out: Path) -> int:
    """Write every standard record as it stands, one a line, in the run's order, and return how many there are.

    Keys that this version does not know stay.

    Raises:
        RecordError: a line is not a standard record.
        StorageError: `out` cannot be written.
    """
    count = 0
    with replacing(out) as temporary, temporary.open("wb") as file:
        for scene in run.complete_scenes():
            for line, where in run.lines_of(scene):
                decode_record(line, where=where)
                file.write(line.rstrip(b"\n") + b"\n")
                count += 1
    return count


def export_csv(run: RunFolder, out: Path, *, table: str) -> int:
    """One table of the run (see `results.tables`) with a header line. Returns the number of rows."""
    columns, rows_of = TABLES[table]
    count = 0
    with replacing(out) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        for record in run.records():
            rows = list(rows_of(record))
            writer.writerows(rows)
            count += len(rows)
    return count


def export_parquet(run: RunFolder, out: Path, *, table: str) -> int:
    """One table of the run as Parquet, columns typed. Returns the number of rows."""
    import duckdb

    from admlops.results.database import append_rows, create_table

    columns, rows_of = TABLES[table]
    with replacing(out) as temporary:
        lines = temporary.with_name(f"{temporary.name}.rows")
        count = append_rows(lines, columns, (row for record in run.records() for row in rows_of(record)))
        with duckdb.connect() as connection:
            create_table(connection, table, columns, lines)
            connection.table(table).write_parquet(str(temporary))
    return count
