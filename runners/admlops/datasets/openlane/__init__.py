"""OpenLane-V2: frames and annotated lane graphs.

It may import `datasets.base`. Begin with `kind.py`, then `frames.py`.
"""
