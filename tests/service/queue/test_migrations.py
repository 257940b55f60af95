"""The revisions of the tables: up and down on both databases, with what is in them, and the same as `tables.py`."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, inspect, text

from admlops.core.errors import StorageError
from admlops.service.queue import migrate
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Status
from admlops.service.queue.jobs import JobQueue
from admlops.service.queue.migrations import HEAD
from admlops.service.queue.tables import METADATA


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    """The engine of a database that has just got its tables."""
    database = open_database(empty_url)
    yield database.engine
    database.close()


def revision(engine: Engine) -> Any:
    with engine.connect() as connection:
        return connection.execute(text("SELECT version_num FROM alembic_version")).scalar()


def test_the_newest_revision_has_the_tables_of_the_code(engine: Engine) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext
    from alembic.script import ScriptDirectory

    from admlops.service.result_tables.tables import RESULT_TABLES

    assert {table.name for table in RESULT_TABLES} == set(migrate.RESULTS)
    assert ScriptDirectory(str(migrate.FOLDER)).get_current_head() == HEAD == revision(engine)
    options = {"include_name": lambda name, kind, _: kind != "table" or name in migrate.MIGRATED}
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, **options})
        differences = [one for one in compare_metadata(context, METADATA) if _is_ours(one)]
        assert differences == []
        indexes = inspect(connection).get_indexes("jobs")
    partial = [one["name"] for one in indexes if any("where" in key for key in one.get("dialect_options", {}))]
    assert sorted(map(str, partial)) == ["ix_jobs_running", "ix_jobs_waiting", "ix_jobs_webhook"]


def _is_ours(difference: Any) -> bool:
    """Leave out tables that other parts made anew beside the queue's."""
    return not (
        isinstance(difference, tuple) and difference[0] == "add_table" and difference[1].name not in migrate.MIGRATED
    )


def test_down_and_up_keep_jobs_and_their_chunks(empty_url: str) -> None:
    database = open_database(empty_url)
    queue = JobQueue(database)
    queue.submit("run", {"n": 1}, webhook="https://a.example/")
    job = queue.claim("me", 60)
    assert job is not None
    queue.add_chunk(job, {"scene": "a"}, key="a")
    migrate.downgrade(database.engine, "0001")
    assert revision(database.engine) == "0001"
    columns = {column["name"] for column in inspect(database.engine).get_columns("jobs")}
    assert "webhook_due" not in columns
    assert not inspect(database.engine).has_table("runners")
    database.close()

    database = open_database(empty_url)
    queue = JobQueue(database)
    assert revision(database.engine) == HEAD
    after = queue.get(job.id)
    assert after is not None
    assert (after.status, after.input, after.webhook) == (Status.IN_PROGRESS, {"n": 1}, "https://a.example/")
    assert [chunk.content for chunk in queue.chunks_after(job.id)] == [{"scene": "a"}]
    assert queue.finish(job, Status.COMPLETED)
    assert queue.claim_webhook() is not None
    cursor = queue.changes().cursor
    queue.submit("run", {})
    assert len(queue.changes(cursor, timeout_s=5).ids) == 1

    migrate.downgrade(database.engine, "base")
    assert set(inspect(database.engine).get_table_names()).isdisjoint(migrate.MIGRATED)
    database.close()
    open_database(empty_url).close()


def test_a_removed_job_still_takes_its_chunks_along_after_a_batch(engine: Engine) -> None:
    migrate.downgrade(engine, "0001")
    migrate.upgrade(engine)
    with engine.connect() as connection:
        keys = inspect(connection).get_foreign_keys("chunks")
    assert [(key["referred_table"], key["options"]) for key in keys] == [("jobs", {"ondelete": "CASCADE"})]


def test_a_database_of_a_newer_version_is_left_as_it_is(empty_url: str) -> None:
    open_database(empty_url).close()
    engine = create_engine(empty_url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StorageError, match="another version of admlops"):
        open_database(empty_url)
    assert revision(engine) == "9999"
    engine.dispose()


def test_two_processes_may_open_a_new_database_at_once(empty_url: str) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(_open, [empty_url] * 2)) == [HEAD] * 2


def _open(url: str) -> Any:
    database = open_database(url)
    try:
        return revision(database.engine)
    finally:
        database.close()
