"""What a training program tells the host, and what it keeps so that another process can go on where it ended.

It imports torch when a state is saved, and the standard library otherwise. Begin with `session.py`.
"""
