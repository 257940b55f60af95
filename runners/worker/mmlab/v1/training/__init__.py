"""Training networks of the first generation by their authors' own `tools/train.py`, with what it lacks today.

It imports torch and the mm libraries when they are needed. Begin with `runner.py`, then `config.py`.
"""
