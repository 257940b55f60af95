"""Makes the hints of `admlops env` commands ones that can be typed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from admlops.core.errors import AdmlopsError


@contextmanager
def naming(model: str) -> Iterator[None]:
    """Replace the word MODEL in the hint of an error by the model's name, so that the command can be typed as it is."""
    try:
        yield
    except AdmlopsError as error:
        error.hint = re.sub(r"\bMODEL\b", model, error.hint)
        raise
