"""Readers of data sets, one module a data kind, and the form of a sample that all of them give.

It imports the standard library alone. Begin with `form.py`, then `nuscenes.py`.
"""
