"""Single pictures: folders, lists and videos, with boxes or counts in the forms that people have them in.

It may import `datasets.base`, `datasets.nuscenes` and downloads. Begin with `kind.py`, then `pictures.py` and
`forms/__init__.py`; a form is one module in `forms/`.
"""
