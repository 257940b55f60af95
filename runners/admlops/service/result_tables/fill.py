"""Bring the result tables up to date with the disk: only what changed since it was last read is read again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, Table, delete, func, insert, select, text

from admlops.core.errors import RecordError
from admlops.core.paths import Layout
from admlops.pipeline.compare import SUMMARY_FILE
from admlops.results.run_folder import RunFolder
from admlops.service.queue.database import Database
from admlops.service.result_tables.rows import RUN_FILES, Row, describe_files, read_comparison, read_run
from admlops.service.result_tables.tables import COMPARISON_RESULTS, COMPARISONS, METRICS, RUNS, UNREADABLE

WRITER = 7_261_140_552
"""The number of PostgreSQL's advisory lock: one process fills at a time. SQLite has one writer anyway."""
AT_ONCE = 500
"""Rows in one statement, and names in one condition: SQLite takes 32,766 values in a statement."""


@dataclass(frozen=True, kw_only=True)
class Filled:
    """What is in the tables now, and how much of it was read anew."""

    runs: int
    comparisons: int
    changed: tuple[str, ...]
    unreadable: tuple[tuple[str, str], ...]

    @property
    def is_change(self) -> bool:
        """Whether anything was read or removed."""
        return bool(self.changed)


@dataclass(frozen=True, kw_only=True)
class _Kind:
    """A kind of folder: its main table, whose key is the folder's name, and the table of its parts."""

    main: Table
    parts: Table
    files: tuple[str, ...]
    read: Callable[[Path, str], tuple[Row, list[Row]]]

    @property
    def key(self) -> str:
        return next(iter(self.main.primary_key)).name

    @property
    def sign(self) -> str:
        """The file that makes a folder one of this kind."""
        return self.files[0]


def _open_run(folder: Path, files: str) -> tuple[Row, list[Row]]:
    return read_run(RunFolder.open(folder), files=files)


_RUN = _Kind(main=RUNS, parts=METRICS, files=RUN_FILES, read=_open_run)
_COMPARISON = _Kind(
    main=COMPARISONS,
    parts=COMPARISON_RESULTS,
    files=(SUMMARY_FILE, "report.html"),
    read=lambda folder, files: read_comparison(folder, files=files),
)


def fill_tables(database: Database, layout: Layout, *, anew: bool = False) -> Filled:
    """Read every run and comparison that changed since it was last read, and forget those that are gone.

    A folder that cannot be read is one row of `unreadable` and is nowhere else. Each folder is a transaction.

    Args:
        anew: read all of them again.

    Raises:
        StorageError: the database cannot be read or written.
    """
    unreadable: dict[str, str] = {}
    changed = _bring(database, _RUN, layout.runs, unreadable, anew=anew)
    changed += _bring(database, _COMPARISON, layout.repository / "comparisons", unreadable, anew=anew)
    _note_unreadable(database, unreadable)
    with database.read() as connection:
        counts = [
            connection.execute(select(func.count()).select_from(kind.main)).scalar_one() for kind in (_RUN, _COMPARISON)
        ]
    return Filled(
        runs=counts[0], comparisons=counts[1], changed=tuple(changed), unreadable=tuple(sorted(unreadable.items()))
    )


def _bring(database: Database, kind: _Kind, parent: Path, unreadable: dict[str, str], *, anew: bool) -> list[str]:
    """Bring the tables of one kind up to date and return the names of what changed."""
    there = _list_folders(parent, kind.sign)
    known = _read_known(database, kind)
    changed = []
    for name, folder in there.items():
        files = describe_files(folder, kind.files)
        before = known.get(name)
        if before == (files, False) and not anew:
            continue
        try:
            row, parts = kind.read(folder, files)
        except RecordError as error:
            unreadable[str(folder)] = error.message
            if before is not None:
                _forget(database, kind, [name])
                changed.append(name)
            continue
        if before == (files, True) and row["state"] == "running" and not anew:
            continue
        changed.append(name)
        _store(database, kind, name, row, parts)
    gone = [name for name in known if name not in there]
    _forget(database, kind, gone)
    return changed + gone


def _list_folders(parent: Path, sign: str) -> dict[str, Path]:
    try:
        folders = sorted(parent.iterdir())
    except OSError:
        return {}
    return {one.name: one for one in folders if not one.name.startswith(".") and (one / sign).is_file()}


def _read_known(database: Database, kind: _Kind) -> dict[str, tuple[str, bool]]:
    """Return how the files of every row stood, and whether it went on then: such a run may have died since."""
    main = kind.main
    columns = [main.c[kind.key], main.c.files, *([main.c.state] if "state" in main.c else [])]
    with database.read() as connection:
        rows = connection.execute(select(*columns)).all()
    return {row[0]: (row[1], row[2:] == ("running",)) for row in rows}


def _store(database: Database, kind: _Kind, name: str, row: Row, parts: Sequence[Row]) -> None:
    with database.write() as connection:
        _be_alone(connection)
        _delete(connection, kind, [name])
        connection.execute(insert(kind.main), [row])
        for start in range(0, len(parts), AT_ONCE):
            connection.execute(insert(kind.parts), list(parts[start : start + AT_ONCE]))


def _forget(database: Database, kind: _Kind, names: Sequence[str]) -> None:
    for start in range(0, len(names), AT_ONCE):
        with database.write() as connection:
            _be_alone(connection)
            _delete(connection, kind, names[start : start + AT_ONCE])


def _delete(connection: Connection, kind: _Kind, names: Sequence[str]) -> None:
    for table in (kind.parts, kind.main):
        connection.execute(delete(table).where(table.c[kind.key].in_(names)))


def _note_unreadable(database: Database, found: dict[str, str]) -> None:
    with database.read() as connection:
        known = {row.folder: row.reason for row in connection.execute(select(UNREADABLE))}
    if known == found:
        return
    with database.write() as connection:
        _be_alone(connection)
        connection.execute(delete(UNREADABLE))
        if found:
            connection.execute(insert(UNREADABLE), [{"folder": name, "reason": why} for name, why in found.items()])


def _be_alone(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": WRITER})
