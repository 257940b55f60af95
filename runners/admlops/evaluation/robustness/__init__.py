"""What worse sensors cost: corruption errors and resilience rates from the scores of a grid of runs.

It imports statistics and nothing of a task. Begin with `scores.py`; `published.py` has the tables of the benchmark.
"""
