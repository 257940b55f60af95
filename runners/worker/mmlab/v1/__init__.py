"""Adapters of networks for mmcv-full 1.x: building, weights, the corrections of old libraries.

It imports torch and the mm libraries when they are needed. Begin with `adapter.py`, then `network.py`.
"""
