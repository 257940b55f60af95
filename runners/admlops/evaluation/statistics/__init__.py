"""Statistics that know no task: resampling over scenes, paired comparisons, rankings.

It may import `metrics` and `results`, and nothing of a task. Begin with `bootstrap.py`.
"""
