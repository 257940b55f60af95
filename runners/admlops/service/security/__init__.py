"""Who may ask for what, how much of it, and what is written down about it.

It may import the core alone, and Starlette. Begin with `access.py`, then `tokens.py` and `sessions.py`.
"""
