"""One file a revision, in the order of their numbers.

They import alembic and SQLAlchemy alone, never `tables.py`, which has today's tables. Begin with `0001_jobs.py`.
"""
