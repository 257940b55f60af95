"""Boxes in space: nuScenes' detection metrics and VAD's variant.

It may import what knows no task (`base`, `statistics`, `slices`, `error_analysis`, `official`). Begin with
`protocols.py` and `scores.py`.
"""
