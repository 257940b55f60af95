"""The command line: parse, call, print; heavy libraries are imported inside the commands.

It may import every room. Begin with `main.py`, then `options.py`; each group of commands has a file.
"""
