"""Jobs and their chunks; in PostgreSQL, a notification of each change."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

NUMBER = sa.BigInteger().with_variant(sa.Integer, "sqlite")
CHANNEL = "admlops_jobs"


def upgrade() -> None:
    """Make the tables, and the trigger."""
    op.create_table(
        "jobs",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("endpoint", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("input", sa.Text, nullable=False),
        sa.Column("output", sa.Text),
        sa.Column("error", sa.Text),
        sa.Column("error_class", sa.String(64)),
        sa.Column("progress", sa.Text),
        sa.Column("priority", sa.Integer, nullable=False),
        sa.Column("low_priority", sa.Boolean, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("last_attempt", sa.Integer, nullable=False),
        sa.Column("max_attempts", sa.Integer, nullable=False),
        sa.Column("execution_timeout_s", sa.Double, nullable=False),
        sa.Column("ttl_s", sa.Double, nullable=False),
        sa.Column("webhook", sa.Text),
        sa.Column("requested_by", sa.Text),
        sa.Column("created", sa.Double, nullable=False),
        sa.Column("run_after", sa.Double, nullable=False),
        sa.Column("expires", sa.Double, nullable=False),
        sa.Column("started", sa.Double),
        sa.Column("finished", sa.Double),
        sa.Column("owner", sa.String(255)),
        sa.Column("lease_until", sa.Double),
        sa.Column("cancel", sa.Boolean, nullable=False),
        sa.Column("changed", sa.BigInteger, nullable=False),
        sa.UniqueConstraint("id", name="uq_jobs_id"),
        sa.PrimaryKeyConstraint("number", name="pk_jobs"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "chunks",
        sa.Column("number", NUMBER, primary_key=True, autoincrement=True),
        sa.Column("job", sa.String(64), nullable=False),
        sa.Column("key", sa.Text, nullable=False),
        sa.Column("content", sa.Text, nullable=False),
        sa.Column("taken", sa.Boolean, nullable=False),
        sa.ForeignKeyConstraint(["job"], ["jobs.id"], name="fk_chunks_job_jobs", ondelete="CASCADE"),
        sa.UniqueConstraint("job", "key", name="uq_chunks_job_key"),
        sa.PrimaryKeyConstraint("number", name="pk_chunks"),
        sqlite_autoincrement=True,
    )
    waiting, running = sa.text("status = 'IN_QUEUE'"), sa.text("status = 'IN_PROGRESS'")
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["low_priority", sa.text("priority DESC"), "number"],
        sqlite_where=waiting,
        postgresql_where=waiting,
    )
    op.create_index("ix_jobs_running", "jobs", ["lease_until"], sqlite_where=running, postgresql_where=running)
    op.create_index("ix_jobs_changed", "jobs", ["changed"])
    op.create_index("ix_jobs_endpoint_status", "jobs", ["endpoint", "status"])
    if op.get_bind().dialect.name == "postgresql":
        _notify()


def _notify() -> None:
    """Tell listeners the ids alone: a notification takes 8,000 bytes, and an output has more."""
    op.execute(
        f"""
        CREATE FUNCTION admlops_notify_job() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            PERFORM pg_notify('{CHANNEL}', NEW.id);
            RETURN NULL;
        END $$
        """
    )
    op.execute(
        "CREATE TRIGGER admlops_jobs_changed AFTER INSERT OR UPDATE OF changed ON jobs "
        "FOR EACH ROW EXECUTE FUNCTION admlops_notify_job()"
    )


def downgrade() -> None:
    """Drop all."""
    op.drop_table("chunks")
    op.drop_table("jobs")
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION admlops_notify_job()")
