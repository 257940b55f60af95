"""What alembic runs for every command; the connection comes from `migrate.py`."""

from __future__ import annotations

from alembic import context

from admlops.service.queue.tables import METADATA

connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit("admlops brings its database up to date itself, when it opens it")
# SQLite cannot alter a column: a batch makes the table anew and copies it.
context.configure(connection=connection, target_metadata=METADATA, render_as_batch=connection.dialect.name == "sqlite")
with context.begin_transaction():
    context.run_migrations()
