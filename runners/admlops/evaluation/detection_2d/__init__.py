"""Boxes in images: COCO's average precision, and counting.

It may import what knows no task. Begin with `protocols.py` and `scores.py`.
"""
