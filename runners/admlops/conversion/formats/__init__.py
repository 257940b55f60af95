"""The forms, one a file: each says what it holds, and reads or writes it.

Imports `conversion` and `datasets`. Begin with `coco`, which only writes boxes in pictures, or `openlabel`, which reads
and writes nearly everything.
"""
