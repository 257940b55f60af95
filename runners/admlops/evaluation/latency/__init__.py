"""Latency of a run: percentiles that the samples carry, and a verdict."""
