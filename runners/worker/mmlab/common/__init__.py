"""What adapters of both generations share: the base, boxes, geometry, infos, inputs, weights, stand-ins for packages.

It imports nothing of the mm libraries when it is loaded. Begin with `adapter.py`, then `inputs.py` and `weights.py`.
"""
