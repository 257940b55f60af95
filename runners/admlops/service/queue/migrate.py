"""Bringing a database's tables to a revision."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, inspect, text

from admlops.core.errors import StorageError
from admlops.service.queue.migrations import HEAD
from admlops.service.queue.tables import METADATA

VERSION_TABLE = "alembic_version"
RESULTS = ("runs", "metrics", "comparisons", "comparison_results", "unreadable")
MIGRATED = frozenset(("jobs", "chunks", "runners", *RESULTS))
LOCK = 7_261_140_551
"""The number of PostgreSQL's advisory lock: of processes that open the database at once, one migrates."""
_alembic = threading.Lock()
"""Alembic keeps the migration that goes on in a global of its own: one thread at a time."""
FOLDER = Path(__file__).with_name("migrations")


def upgrade(engine: Engine) -> None:
    """Bring the tables to the newest revision, and make the tables of other parts that can be filled anew.

    Raises:
        StorageError: the database has a revision that this version does not know.
    """
    with engine.connect() as connection:
        others = [table for table in METADATA.sorted_tables if table.name not in MIGRATED]
        there = set(inspect(connection).get_table_names())
        if _read_revision(connection, there) == HEAD and there.issuperset(table.name for table in others):
            return
    _migrate(engine, _upgrade)


def downgrade(engine: Engine, revision: str) -> None:
    """Take the tables back to an older revision; `base` drops them all.

    Raises:
        StorageError: the database has a revision that this version does not know.
    """
    from alembic import command

    _migrate(engine, lambda connection: command.downgrade(_config(connection), revision))


def _upgrade(connection: Connection) -> None:
    from alembic import command

    if _read_revision(connection, set(inspect(connection).get_table_names())) != HEAD:
        command.upgrade(_config(connection), "head")
    METADATA.create_all(connection, tables=[table for table in METADATA.sorted_tables if table.name not in MIGRATED])


def _migrate(engine: Engine, change: Callable[[Connection], None]) -> None:
    """Do it whole or not at all, in one process at a time."""
    from alembic.util import CommandError

    with _alembic, engine.connect().execution_options(admlops_write=True) as connection:
        raw: Any = connection.connection.driver_connection
        if isinstance(raw, sqlite3.Connection):  # a table that is made anew drops the old one, and what refers to it
            raw.execute("PRAGMA foreign_keys=OFF")
        try:
            with connection.begin():
                if not isinstance(raw, sqlite3.Connection):
                    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
                change(connection)
        except CommandError as error:
            raise StorageError(
                f"the database is of another version of admlops: {error}",
                hint="update admlops, or name another database",
            ) from error
        finally:
            if isinstance(raw, sqlite3.Connection):
                raw.execute("PRAGMA foreign_keys=ON")


def _read_revision(connection: Connection, tables: set[str]) -> str | None:
    if VERSION_TABLE not in tables:
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()  # noqa: S608  a constant
    return None if found is None else str(found)


def _config(connection: Connection) -> Any:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
