"""Streaming evaluation: what a model's outputs are worth at the moment when they are ready.

It imports detection_3d and vector_map, which score what was paired. Begin with `simulation.py`, which says which output
each moment has; `declarations.py` registers the protocols.
"""
