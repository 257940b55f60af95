"""Tracking: what an evaluated run says, exported to MLflow, Weights & Biases or TensorBoard. Files stay the truth.

It may import every room below reports. Begin with `exported.py` (what is exported), then `trackers.py` (whereto: one
module and one registration a tracker).
"""
