"""One file a revision, in the order of their numbers.

They import alembic and SQLAlchemy alone, never `tables.py`: that is of today. Begin with `0001_jobs.py`.
"""
