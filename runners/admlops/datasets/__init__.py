"""Data sets as the host sees them: scenes, samples, ground truth and maps, one package a data kind.

It may import core and catalog, and the readers in `worker.samples`. Begin with `base.py`, then a kind's `kind.py`.
"""
