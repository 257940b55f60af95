"""What adapters of models built on mmcv, mmdet and mmdet3d have in common.

`common.adapter.BaseMmAdapter` is the base of both generations: `v1.adapter.MmAdapter` for mmcv 1.x and
`v2.adapter.MmAdapter` for mmengine and mmcv 2. They run inside model environments: Python 3.8, the standard library and
NumPy; torch and the mm libraries are loaded when they are needed, because `geometry`, `infos` and the comparisons of
`weights` are tested where there are none.

`common` may be imported anywhere; `v1` and `v2` import the mm libraries of their generation, and never each other.
Begin with `common/adapter.py`.
"""
