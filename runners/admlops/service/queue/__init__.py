"""The queue of jobs: a table with leases, on SQLite or PostgreSQL.

It may import core and health, and knows nothing of what a job does. Begin with `job.py` (what a job is), then `jobs.py`
(who may do what with it).
"""
