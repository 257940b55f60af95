"""What adapters of models built on mmcv, mmdet and mmdet3d have in common.

`v1.adapter.MmAdapter` is the base; the other modules are its parts. They run inside model environments: Python 3.8, the
standard library and NumPy; torch and the mm libraries are loaded when they are needed, because `geometry`, `infos` and
the comparisons of `weights` are tested where there are none.

`common` may be imported anywhere; `v1` imports the mm libraries of mmcv 1.x. Begin with `v1/adapter.py`.
"""
