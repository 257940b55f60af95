"""The ground floor: errors, paths, files, programs, locks, small types, and the registries' class.

It imports nothing of admlops. Begin with `errors.py`, then `paths.py` and `registry.py`.
"""
