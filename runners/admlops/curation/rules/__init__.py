"""Rules by which samples are chosen, one a file.

Imports `curation.found` and `evaluation`. Begin with `base`, then `disagreement`.
"""
