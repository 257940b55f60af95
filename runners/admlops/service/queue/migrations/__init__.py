"""The queue's tables, revision by revision, for both databases.

It may import the tables. Begin with `env.py`, then `versions/0001_jobs.py`.

A change of a table is a file in `versions/` and the new `HEAD` here; `tests/service/queue/test_migrations.py` holds the
two against `tables.py`. From the checkout, `alembic -c runners/admlops/service/queue/migrations/alembic.ini revision -m
"…"` makes an empty one.
"""

HEAD = "0003"
"""The newest revision: a database that has it is opened without alembic, which takes a third of a second to import."""
