"""Faults of sensors made on purpose: worse pictures, wrong calibration, lost points, the same for every model.

It imports the standard library and `samples` alone until a picture is made worse, which wants NumPy and OpenCV of the
model's environment. Begin with `fault.py`, which names the faults; `adapter.py` is where a worker meets them.
"""
