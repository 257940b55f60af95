"""The dashboard's pages, a module each: a handler reads, and a template shows.

It may import what the dashboard may; no page imports another. Begin with `jobs.py`.
"""
