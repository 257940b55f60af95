"""The forms of data sets with pictures, one module a form.

It may import what `datasets.images` may. Begin with `base.py`, then `coco.py`.
"""
