"""The processes that take jobs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make their table."""
    op.create_table(
        "runners",
        sa.Column("owner", sa.String(255), nullable=False),
        sa.Column("host", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("endpoints", sa.Text, nullable=False),
        sa.Column("job", sa.String(64)),
        sa.Column("started", sa.Double, nullable=False),
        sa.Column("seen", sa.Double, nullable=False),
        sa.PrimaryKeyConstraint("owner", name="pk_runners"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("runners")
