"""When the post to a job's webhook is due, and how often it was tried."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add both columns; no webhook of an older job is due."""
    with op.batch_alter_table("jobs") as jobs:
        jobs.add_column(sa.Column("webhook_due", sa.Double))
        jobs.add_column(sa.Column("webhook_tries", sa.Integer, nullable=False, server_default="0"))
    due = sa.text("webhook_due IS NOT NULL")
    op.create_index("ix_jobs_webhook", "jobs", ["webhook_due"], sqlite_where=due, postgresql_where=due)


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_jobs_webhook", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        jobs.drop_column("webhook_tries")
        jobs.drop_column("webhook_due")
