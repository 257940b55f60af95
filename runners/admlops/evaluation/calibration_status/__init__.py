"""Whether camera and LiDAR calibration agree: a classifier against errors that were put in on purpose.

It may import what knows no task. Begin with `scores.py`.
"""
