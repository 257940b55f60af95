"""Evaluation: from records and ground truth to metrics, each protocol an `Evaluation` registered by its id.

It may import the rooms below: results, datasets, environments (for official code). Begin with `base.py`, then
`evaluate.py`; a task's package declares its evaluations in `declarations.py`.
"""
