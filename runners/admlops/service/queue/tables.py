"""The tables of the queue. Times are seconds since 1970, UTC, as floats; JSON is text."""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Names of constraints: both databases need them by name to drop them again."""

METADATA = MetaData(naming_convention=NAMING)
NUMBER = BigInteger().with_variant(Integer, "sqlite")
"""SQLite counts up by itself in a column of the type INTEGER alone."""

JOBS = Table(
    "jobs",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),  # the order of arrival
    Column("id", String(64), nullable=False, unique=True),
    Column("endpoint", String(64), nullable=False),
    Column("status", String(16), nullable=False),
    Column("input", Text, nullable=False),
    Column("output", Text),
    Column("error", Text),
    Column("error_class", String(64)),
    Column("progress", Text),
    Column("priority", Integer, nullable=False),
    Column("low_priority", Boolean, nullable=False),
    Column("attempt", Integer, nullable=False),  # counts up for ever: with `owner` it is the fence
    Column("last_attempt", Integer, nullable=False),  # the attempt after which nothing is tried again
    Column("max_attempts", Integer, nullable=False),
    Column("execution_timeout_s", Double, nullable=False),
    Column("ttl_s", Double, nullable=False),
    Column("webhook", Text),
    Column("webhook_due", Double),  # when the next post is due; NULL: none is
    Column("webhook_tries", Integer, nullable=False, server_default="0"),
    Column("requested_by", Text),
    Column("created", Double, nullable=False),
    Column("run_after", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Column("started", Double),
    Column("finished", Double),
    Column("owner", String(255)),
    Column("lease_until", Double),
    Column("cancel", Boolean, nullable=False),
    Column("changed", BigInteger, nullable=False),  # grows with every change in the table
    sqlite_autoincrement=True,
)

CHUNKS = Table(
    "chunks",
    METADATA,
    Column("number", NUMBER, primary_key=True, autoincrement=True),
    Column("job", String(64), ForeignKey("jobs.id", ondelete="CASCADE"), nullable=False),
    Column("key", Text, nullable=False),  # a chunk that a later attempt makes again is not a second one
    Column("content", Text, nullable=False),
    Column("taken", Boolean, nullable=False),
    UniqueConstraint("job", "key"),
    sqlite_autoincrement=True,
)

RUNNERS = Table(
    "runners",
    METADATA,
    Column("owner", String(255), primary_key=True),
    Column("host", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("endpoints", Text, nullable=False),
    Column("job", String(64)),
    Column("started", Double, nullable=False),
    Column("seen", Double, nullable=False),
)

WAITING = text("status = 'IN_QUEUE'")
RUNNING = text("status = 'IN_PROGRESS'")
DUE = text("webhook_due IS NOT NULL")

Index(
    "ix_jobs_waiting",
    *(JOBS.c.low_priority, JOBS.c.priority.desc(), JOBS.c.number),
    sqlite_where=WAITING,
    postgresql_where=WAITING,
)
Index("ix_jobs_running", JOBS.c.lease_until, sqlite_where=RUNNING, postgresql_where=RUNNING)
Index("ix_jobs_webhook", JOBS.c.webhook_due, sqlite_where=DUE, postgresql_where=DUE)
Index("ix_jobs_changed", JOBS.c.changed)
Index("ix_jobs_endpoint_status", JOBS.c.endpoint, JOBS.c.status)
