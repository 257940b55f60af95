"""Data sets as their publishers give them: fetched, checked, unpacked, and verified later against a manifest.

It may import downloads and core. Begin with `publication.py`, the form of the files in `sets/`, one a data
set; then `fetch.py`, which carries them out.
"""
