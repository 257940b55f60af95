"""Files of annotators' tools, one a file: written with predictions in place, and read when they come back.

Imports `conversion`. Begin with `base`, then `cvat`.
"""
