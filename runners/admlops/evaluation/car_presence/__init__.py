"""Whether a picture shows a car: what classifiers say, and detectors by their surest car.

It may import what knows no task, and the ground truth of `detection_2d`. Begin with `protocols.py` and `scores.py`.
"""
