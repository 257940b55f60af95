"""What adapters built on any mmcv share: boxes, geometry, infos, inputs. NumPy at most.

It imports nothing of the mm libraries when it is loaded. Begin with `inputs.py`, then `geometry.py`.
"""
