"""Trainers, a module each: what a model's training program is given, and what is prepared before it starts.

They may import everything that the room may. Begin with `samples.py`, the smallest.
"""
