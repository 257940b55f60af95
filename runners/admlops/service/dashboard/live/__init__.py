"""What keeps open pages up to date: one watch of the queue, topics that make changed parts once, and their readers.

It may import what the dashboard may, but no page. Begin with `hub.py`.
"""
