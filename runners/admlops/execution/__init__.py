"""Execution: runs a model's scenes in workers and writes one record a sample.

It may import core, health, catalog, doctor, results and datasets; `worker.wire` is the wire format it shares with
workers. Begin with `coordinator.py` (policies, records, accounting) and `executor.py` (who runs workers).
"""
