"""The whole way of a command: prepare once, run, evaluate, compare, check.

It may import every room but reports and cli. Begin with `run.py`, then `compare.py`.
"""
