"""Conversions between forms of driving data: readers and writers around one description of scenes.

Imports `datasets`, `publications` and what lies below them. A form is one file in `formats/` and one line in
`catalog.registries.DATA_FORMATS`. Begin with `frames` for what every form is read into, then `base` and `convert`.
"""
