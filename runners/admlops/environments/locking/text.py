"""Reads input files as people save them: UTF-8 with or without a byte order mark, or UTF-16 with one."""

from __future__ import annotations

import codecs
from pathlib import Path


def read_text(file: Path) -> str:
    """Read a file's text; a byte order mark tells its encoding and is no part of it.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is neither UTF-8 nor UTF-16 with a byte order mark.
    """
    content = file.read_bytes()
    marked = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if marked else "utf-8-sig")
