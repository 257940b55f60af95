"""Results files made elsewhere: one module a format, each registered in `catalog.registries.SUBMISSION_FORMATS`.

Begin with `base.py`, which says what a format is; `results_file.py` reads the file itself.
"""
