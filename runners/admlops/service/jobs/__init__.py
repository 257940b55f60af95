"""Doing jobs: endpoints, their inputs, and the processes that take jobs from the queue and execute them.

Begin with `endpoints.py`, then `runner.py`.
"""
