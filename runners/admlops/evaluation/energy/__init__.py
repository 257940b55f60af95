"""The energy of a run, its carbon, and the scores made from both.

It may import what knows no task. Begin with `windows.py` (telemetry to joules), then `report.py`.
"""
