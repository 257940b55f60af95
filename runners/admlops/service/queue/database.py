"""Opening the queue's database: a SQLite file by default, PostgreSQL by its address."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.pool import ConnectionPoolEntry

from admlops.core.errors import MissingExtraError, StorageError, UsageError
from admlops.core.paths import Layout, data_home, user_path
from admlops.core.storage import require_writable
from admlops.health.disks import find_file_system
from admlops.service.queue.backup import restore
from admlops.service.queue.migrate import upgrade

DEFAULT_FILE = Path("service", "jobs.db")
"""Below the repository folder."""
BUSY_TIMEOUT_S = 30.0
"""How long a writer waits for another; a transaction here takes milliseconds."""

NETWORK_FILE_SYSTEMS = ("nfs", "cifs", "smb", "9p", "fuse", "ceph", "glusterfs", "lustre", "beegfs", "afs")
"""File systems by the beginning of their type. SQLite's WAL keeps an index in memory that the machine's processes share
(https://sqlite.org/wal.html): on these it loses or damages what was written."""
LOCAL_FUSE = ("fuse.fuse-overlayfs", "fuseblk")
WRITE = "admlops_write"


class Database:
    """An open database. It may be used by many threads, and by many processes that each open it."""

    def __init__(self, engine: Engine, *, file: Path | None) -> None:
        self.engine = engine
        self.file = file
        self.is_closed = False
        self._writer = engine.execution_options(**{WRITE: True})

    @property
    def is_sqlite(self) -> bool:
        """Whether it is a SQLite file, and not PostgreSQL."""
        return self.file is not None

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        return str(self.file) if self.file is not None else self.engine.url.render_as_string(hide_password=True)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the database."""
        with self._explained(), self.engine.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes all happen at the end, or none if an exception is raised."""
        with self._explained(), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.is_closed = True
        self.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except DBAPIError as error:
            raise explain_database_error(error, self.address) from error
        except PoolTimeoutError as error:
            raise StorageError(
                f"the database {self.address} has no connection left", hint="wait, or send fewer requests at a time"
            ) from error


def default_url(layout: Layout) -> str:
    """Return the address of a SQLite file: in the repository folder, or on a disk of the machine if that is not on one.

    On a pod the repository folder may be a network volume; then `default_backup` is where its copy goes.
    """
    if not _lies_on_network(layout):
        return f"sqlite:///{layout.repository / DEFAULT_FILE}"
    name = hashlib.sha256(str(layout.repository.resolve()).encode()).hexdigest()[:12]
    return f"sqlite:///{data_home() / 'admlops' / f'service-{name}' / DEFAULT_FILE.name}"


def default_backup(layout: Layout) -> Path | None:
    """Return the folder on the volume for copies of the default database; None where it lies on a disk already."""
    return layout.repository / DEFAULT_FILE.parent if _lies_on_network(layout) else None


def _lies_on_network(layout: Layout) -> bool:
    place = next(path for path in (layout.repository, *layout.repository.parents) if path.exists())
    return is_network(find_file_system(place))


def open_database(url: str, *, force: bool = False, backup: Path | None = None) -> Database:
    """Open a database and bring its tables up to date.

    Args:
        backup: the folder with a copy (`backup.py`), which a SQLite file that is not there yet begins with.
        url: `sqlite:///relative/file`, `sqlite:////absolute/file`, the path of a file, or `postgresql://…`.
        force: take a SQLite file on a network file system too.

    Raises:
        UsageError: the address is not one, or the file lies on a network file system.
        StorageError: the database cannot be opened, written or brought up to date.
        MissingExtraError: PostgreSQL's driver is not installed.
    """
    parsed = _parse(url)
    database = (
        _open_postgresql(parsed) if parsed.drivername.startswith("postgresql") else _open_sqlite(parsed, force, backup)
    )
    try:
        upgrade(database.engine)
    except DBAPIError as error:
        raise explain_database_error(error, database.address) from error
    return database


def spell_address(url: str) -> str:
    """Return an address without its password. Raises UsageError: it is none."""
    parsed = _parse(url)
    return str(parsed.database) if parsed.drivername == "sqlite" else parsed.render_as_string(hide_password=True)


def explain_database_error(error: DBAPIError, address: str) -> StorageError:
    """Return what a database's error means, without the statement and its values."""
    lines = str(error.orig).strip().splitlines() or [type(error.orig).__name__]
    return StorageError(
        f"the database {address}: {lines[0]}",
        hint="see that its disk has room and, for PostgreSQL, that the server runs; then run the command again",
    )


def _parse(url: str) -> URL:
    if "://" not in url:
        url = f"sqlite:///{user_path(url)}"
    if url.startswith("postgres://"):
        url = url.replace("postgres://", "postgresql://", 1)
    hint = "name postgresql://USER@HOST/NAME, or sqlite:////absolute/file"
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise UsageError("the database's address cannot be read", hint=hint) from error
    if parsed.drivername in {"postgresql", "postgresql+psycopg"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername != "sqlite":
        raise UsageError(f"a database of the kind {parsed.drivername} is not supported", hint=hint)
    if not parsed.database or parsed.database == ":memory:":
        raise UsageError("the database's address names no file", hint=hint)
    return parsed


def _open_sqlite(url: URL, force: bool, backup: Path | None) -> Database:
    assert url.database is not None
    file = user_path(url.database)
    kind = find_file_system(next(path for path in file.parents if path.exists()))
    if is_network(kind) and not force:
        raise UsageError(
            f"the database {file} would lie on a network file system ({kind}), where SQLite can lose what it wrote",
            hint="name a file on the container's own disk and a backup folder on the volume, or PostgreSQL",
        )
    require_writable(file.parent)
    file.parent.mkdir(parents=True, exist_ok=True)
    if backup is not None:
        restore(backup / file.name, file)
    engine = create_engine(
        URL.create("sqlite", database=str(file)),
        connect_args={"timeout": BUSY_TIMEOUT_S, "isolation_level": None, "check_same_thread": False},
        pool_size=8,
        max_overflow=64,
    )
    event.listen(engine, "connect", _set_up_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return Database(engine, file=file)


def is_network(kind: str) -> bool:
    """Tell whether a file system of this type, as /proc/mounts names it, is reached over a network or through FUSE."""
    return kind.startswith(NETWORK_FILE_SYSTEMS) and kind not in LOCAL_FUSE


def _set_up_sqlite(connection: sqlite3.Connection, _: ConnectionPoolEntry) -> None:
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    """Begin a transaction that writes with the lock: one that first reads and then writes cannot wait, and fails."""
    writes = connection.get_execution_options().get(WRITE, False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _open_postgresql(url: URL) -> Database:
    options: dict[str, Any] = {
        # a pooler in transaction mode knows nothing of statements that another connection prepared
        "connect_args": {"connect_timeout": 10, "prepare_threshold": None},
        "pool_pre_ping": True,
        "max_overflow": 20,
    }
    try:
        engine = create_engine(url, **options)
    except ImportError as error:
        raise MissingExtraError("a PostgreSQL database", "postgres", error) from error
    return Database(engine, file=None)
