"""The dashboard's pages, a module each: a handler reads, and a template shows.

It may import what the dashboard may. Begin with `jobs.py`, then `runs.py`, whose report pages comparisons show as well.
"""
