"""Doing jobs: endpoints, their inputs, and the processes that take jobs from the queue and execute them.

It may import the queue, never the routes. Begin with `endpoints.py`, then `runner.py`.
"""
