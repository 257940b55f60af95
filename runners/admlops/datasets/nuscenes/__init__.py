"""nuScenes: tables, annotations, splits, vector maps, CAN bus messages and the index over samples.

It may import `datasets.base`. Begin with `kind.py`, then `tables.py`.
"""
