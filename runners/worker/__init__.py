"""What runs inside model environments: Python 3.8, standard library. Imports nothing of admlops."""
