"""Adapters of networks for mmengine, mmcv 2, mmdet 3 and mmdet3d 1.4: building, samples, and stand-ins for CUDA code.

It imports torch and the mm libraries when they are needed. Begin with `adapter.py`, then `samples.py`; `overlay.py`
puts the formulations in PyTorch of `common` where compiled operations are looked for.
"""
