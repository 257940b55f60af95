"""Predicted motion of others, as VAD measures it.

It may import what knows no task, and `trajectories`. Begin with `protocols.py` and `scores.py`.
"""
