"""Addresses as they may be printed: signatures, tokens and passwords in them are nobody's business."""

from __future__ import annotations

import re
from urllib.parse import urlsplit, urlunsplit


def redact(url: str) -> str:
    """The address without what may be secret: user, password, query and fragment."""
    parts = urlsplit(url)
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def hide_users(text: str) -> str:
    """A message of a library without the user and password of an address in it."""
    return re.sub(r"//[^/@\s]+@", "//", text)
