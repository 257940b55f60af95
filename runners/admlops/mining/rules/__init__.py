"""Rules by which samples are chosen, one a file.

Imports `mining.found` and `evaluation`. Begin with `base`, then `disagreement`.
"""
