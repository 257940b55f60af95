"""The energy of a run, its carbon, and what both give for a score.

It may import what knows no task. Begin with `windows.py` (telemetry to joules), then `report.py`.
"""
