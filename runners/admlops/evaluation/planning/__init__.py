"""Plans of the ego vehicle: distance to the driven path and collisions, as ST-P3 and UniAD measure them.

It may import what knows no task, and `trajectories`. Begin with `protocols.py` and `scores.py`.
"""
