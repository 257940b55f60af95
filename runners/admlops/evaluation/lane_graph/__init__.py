"""Lane graphs: OpenLane-V2's scores.

It may import what knows no task. Begin with `protocols.py` and `scores.py`.
"""
