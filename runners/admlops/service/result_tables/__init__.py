"""The result database: what lies in run and comparison folders, as tables that people query in SQL.

The files are the truth. The tables lie beside the queue's, in SQLite or PostgreSQL, and can be made anew at any time by
`admlops results index --database URL`. It may import the queue's database and what the service
may. Begin with `tables.py` (what there is), then `fill.py` (how it gets there).
"""

from admlops.service.result_tables.fill import Filled, fill_tables

__all__ = ["Filled", "fill_tables"]
