"""Queues for tests, on SQLite and on PostgreSQL."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from tests.service.queue.postgres import Cluster, start_postgresql

from admlops.service.queue.database import open_database
from admlops.service.queue.jobs import JobQueue


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Cluster]:
    """A PostgreSQL of this test run's own."""
    with start_postgresql() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def sqlite_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite file with the tables and nothing in them. Copy it, please: making the tables takes half a second."""
    file = tmp_path_factory.mktemp("sqlite") / "queue.sqlite3"
    open_database(str(file)).close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA journal_mode=DELETE")
    return file


@pytest.fixture(scope="session")
def postgresql_database(postgresql: Cluster) -> str:
    """The address of a database with the tables, for one test at a time; a new one takes 8 MB and a second."""
    url = postgresql.create()
    open_database(url).close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database without tables, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    cluster: Cluster = request.getfixturevalue("postgresql")
    return cluster.create()


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database with empty tables, of each kind."""
    if request.param == "sqlite":
        shutil.copy(request.getfixturevalue("sqlite_file"), tmp_path / "queue.sqlite3")
        return f"sqlite:///{tmp_path / 'queue.sqlite3'}"
    url: str = request.getfixturevalue("postgresql_database")
    with psycopg.connect(url) as connection:
        connection.execute("TRUNCATE jobs, chunks, runners RESTART IDENTITY CASCADE")
    return url


@pytest.fixture
def queue(url: str) -> Iterator[JobQueue]:
    """An empty queue, on each kind of database."""
    database = open_database(url)
    yield JobQueue(database)
    database.close()
