"""Addresses made safe to print: without signatures, tokens and passwords."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit


def redact(url: str) -> str:
    """Return the address without the parts that may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def hide_users(text: str) -> str:
    """Return a library's message without the user and password of any address in it."""
    return re.sub(r"//[^/@\s]+@", "//", text)
