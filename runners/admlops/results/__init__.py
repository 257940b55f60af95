"""Results: the standard record, run folders, and the index over runs.

It may import core. Begin with `record.py` (what a record holds), then `run_folder.py` (the files of a run).
"""
