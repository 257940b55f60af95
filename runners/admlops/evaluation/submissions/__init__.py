"""Results files made elsewhere: one module a format, each registered in `catalog.registries.SUBMISSION_FORMATS`.

It may import every other part of this room, since its files hold outputs of every task, and none imports it. Begin with
`base.py`, which says what a format is; `results_file.py` reads the file itself.
"""
