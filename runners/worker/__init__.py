"""The worker: the code that runs inside model environments. Python 3.8, standard library.

It imports nothing of admlops. Begin with `adapter.py` (a model's interface) and `main.py` (its entry point).
"""
