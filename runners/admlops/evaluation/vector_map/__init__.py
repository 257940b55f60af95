"""Vector map elements: MapTR's average precision by Chamfer distance and by IoU.

It may import what knows no task. Begin with `protocols.py` and `scores.py`.
"""
