"""The forms of data sets with pictures, one module a form. Begin with `base.py`, then `coco.py`."""
