"""A data set's samples as one SQL table with the columns of `columns.py`, and its boxes and tracks beside it.

Only what is asked for is read. A person's condition runs on a copy of the samples in a database that reaches no file.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from admlops.core.errors import DataError, UsageError
from admlops.core.types import Watch
from admlops.curation.columns import BY_NAME, COLUMNS, ORDER, Source
from admlops.curation.expression import NO_EXTENSIONS, Condition, find_columns, lock, to_sql
from admlops.curation.nuscenes_rows import NuScenesRows
from admlops.curation.plain_rows import PlainRows
from admlops.datasets.base import Dataset
from admlops.datasets.json_tables import TABLES, HasTables

if TYPE_CHECKING:
    import duckdb

MEMORY = "1100MB"
"""What DuckDB may hold; statistics of v1.0-trainval need about half of it."""


class SampleTables:
    """The tables of one data set, in a database of their own in memory.

    Attributes:
        data: the data set.
        lacking: by source why the data set does not have it.
    """

    def __init__(self, data: Dataset) -> None:
        import duckdb

        self.data = data
        self.lacking: dict[Source, str] = {}
        self._read: set[Source] = set()
        self._copy: duckdb.DuckDBPyConnection | None = None
        spill = tempfile.mkdtemp(prefix="admlops-tables-")  # DuckDB's own place is the current folder
        weakref.finalize(self, shutil.rmtree, spill, ignore_errors=True)
        self._database = duckdb.connect(config={**NO_EXTENSIONS, "memory_limit": MEMORY, "temp_directory": spill})
        self._rows: NuScenesRows | PlainRows
        if isinstance(data, HasTables) and TABLES in data.capabilities:
            self._rows = NuScenesRows(data, self._database)
        else:
            self._rows = PlainRows(data, self._database)

    @property
    def has_tables(self) -> bool:
        """Tell whether boxes in space, poses and maps can be asked for."""
        return isinstance(self._rows, NuScenesRows)

    def read(self, sources: Iterable[Source], watch: Watch | None = None) -> None:
        """Read what columns of these sources need; `watch` gets the steps done and their total.

        Raises:
            DataError: a table is missing, or is not whole.
        """
        wanted = self._complete(sources)
        missing = [source for source in ORDER if source in wanted and source not in self._read]
        for number, source in enumerate(missing):
            if watch is not None:
                watch(number, len(missing))
            reason = self._rows.read(source)
            if reason is not None:
                self.lacking[source] = reason
            self._read.add(source)
        if watch is not None:
            watch(len(missing), len(missing))
        if missing:
            self._join()

    def ask(self, sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        """Return the rows of our own SQL. Raises DataError: the answer takes too much memory."""
        with self._explained():
            return list(self._database.execute(sql, list(parameters)).fetchall())

    def columns_of(self, sql: str) -> Mapping[str, Any]:
        """Return the answer of our own SQL as arrays by column; masked where they are NULL."""
        with self._explained():
            found: Mapping[str, Any] = self._database.execute(sql).fetchnumpy()
            return found

    def choose(self, condition: Condition, rules: Mapping[str, Condition]) -> list[str]:
        """Return the tokens of the samples where a condition holds, scene by scene in time order.

        Raises:
            UsageError: it needs columns that the data set does not have.
            DataError: a table is missing, or is not whole.
        """
        self.require(find_columns(condition, rules), condition.where)
        sql = f"SELECT sample FROM samples WHERE {to_sql(condition, rules)} ORDER BY number"
        return [str(row[0]) for row in self._ask_person(sql, condition)]

    def count(self, condition: Condition, rules: Mapping[str, Condition]) -> tuple[int, int]:
        """Return how many samples, and of how many scenes, a condition chooses; raises as `choose`."""
        self.require(find_columns(condition, rules), condition.where)
        sql = f"SELECT count(*), count(DISTINCT scene) FROM samples WHERE {to_sql(condition, rules)}"
        samples, scenes = self._ask_person(sql, condition)[0]
        return int(samples), int(scenes)

    def require(self, columns: Collection[str], where: str) -> None:
        """Read what columns need. Raises UsageError for one that the data set does not have, DataError as `read`."""
        self.read({BY_NAME[name].source for name in columns})
        lacking = self.find_lacking(columns)
        if lacking is not None:
            name, reason = lacking
            raise UsageError(
                f"{where}: {self.data.root} has no {name}: {reason}",
                hint="use columns that it has: " + ", ".join(self.names),
            )

    def find_lacking(self, columns: Iterable[str]) -> tuple[str, str] | None:
        """Return the first column that the data set does not have, and why; only of what was read."""
        for name in columns:
            reason = self.lacking.get(BY_NAME[name].source) or self._rows.lacking_columns.get(name)
            if reason is not None:
                return name, reason
        return None

    @property
    def names(self) -> list[str]:
        """The columns that the data set has, as far as is known."""
        return [column.name for column in COLUMNS if self.find_lacking([column.name]) is None]

    def keep(self, tokens: Sequence[str]) -> None:
        """Drop all samples but these, with what belongs to them."""
        import numpy as np

        self._copy = None
        self.add("kept", {"sample": np.array(tokens, dtype=object)})
        self.ask("DELETE FROM sample_rows WHERE sample NOT IN (SELECT sample FROM kept)")
        if "boxes" in self._read and "boxes" not in self.lacking:
            self.ask("DELETE FROM boxes WHERE sample NOT IN (SELECT number FROM sample_rows)")

    def add(self, name: str, columns: Mapping[str, Any]) -> None:
        """Make a temporary table of arrays by column, in place of one with that name."""
        self._database.register("given", dict(columns))
        self._database.execute(f"CREATE OR REPLACE TEMP TABLE {name} AS SELECT * FROM given").fetchall()
        self._database.unregister("given")

    def _complete(self, sources: Iterable[Source]) -> set[Source]:
        """Add what has to be read first."""
        wanted: set[Source] = {"scene", *sources}
        if wanted & {"boxes", "map", "training"}:
            wanted.add("pose")
        return wanted

    def _join(self) -> None:
        """Make the view of all columns: NULL stands for those that are not there or were not read."""
        self._copy = None
        have = {
            str(name): str(table)
            for table, name in self.ask(
                "SELECT table_name, column_name FROM information_schema.columns WHERE table_name LIKE '%_rows'"
            )
        }
        parts = sorted({table for table in have.values() if table != "sample_rows"})
        columns = ["sample_rows.number"]
        for column in COLUMNS:
            owner = "sample_rows" if column.name == "sample" else have.get(column.name)
            value = f'{owner}."{column.name}"' if owner else "NULL"
            columns.append(f'CAST({value} AS {column.kind}) AS "{column.name}"')
        joins = " ".join(f"LEFT JOIN {table} USING (number)" for table in parts)
        self._database.execute(
            f"CREATE OR REPLACE VIEW samples AS SELECT {', '.join(columns)} FROM sample_rows {joins}"
        )

    def _ask_person(self, sql: str, condition: Condition) -> list[tuple[Any, ...]]:
        """Run SQL that holds a person's condition, where no file can be reached."""
        import duckdb

        try:
            return list(self._closed().execute(sql).fetchall())
        except duckdb.Error as error:
            raise UsageError(
                f"{condition.where}: {condition.text!r}: {str(error).splitlines()[0]}",
                hint="docs/data-stats.md says what each column is",
            ) from error

    def _closed(self) -> duckdb.DuckDBPyConnection:
        """Return a copy of the samples in a database that reaches no file and whose settings are locked."""
        import duckdb

        if self._copy is None:
            columns = self.columns_of("SELECT * FROM samples")
            self._copy = duckdb.connect(config={**NO_EXTENSIONS, "memory_limit": "500MB", "temp_directory": ""})
            self._copy.register("given", {name: to_plain(values) for name, values in columns.items()})
            kinds = ", ".join(f'CAST("{column.name}" AS {column.kind}) AS "{column.name}"' for column in COLUMNS)
            self._copy.execute(f"CREATE TABLE samples AS SELECT CAST(number AS BIGINT) AS number, {kinds} FROM given")
            self._copy.unregister("given")
            lock(self._copy)
        return self._copy

    @contextmanager
    def _explained(self) -> Iterator[None]:
        import duckdb

        try:
            yield
        except duckdb.OutOfMemoryException as error:
            raise DataError(
                f"{self.data.root} does not fit into {MEMORY}: {str(error).splitlines()[0]}",
                hint="choose a part of it: --where \"split = 'val'\"",
            ) from error


def to_plain(values: Any) -> Any:
    """Return an array of an answer in a form that DuckDB takes: None or NaN where a value is masked."""
    import numpy as np

    if values.dtype.kind in "OU":
        filled = np.array(values, dtype=object)
        if np.ma.isMaskedArray(values):
            filled[np.ma.getmaskarray(values)] = None
        return filled
    return np.ma.filled(np.ma.asarray(values).astype(np.float64), np.nan)
