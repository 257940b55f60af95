"""Latency of a run: percentiles that the samples carry, and a verdict.

It may import what knows no task. Begin with `summary.py`.
"""
