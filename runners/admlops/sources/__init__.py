"""The models' sources: which commits are pinned, what is checked out, and fetching what is missing.

It may import core and catalog. Begin with `checkouts.py`.
"""
