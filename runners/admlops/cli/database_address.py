"""`--database`: an address, or the absolute path of a SQLite file."""

from __future__ import annotations

import re

from admlops.core.errors import UsageError

ADDRESS = re.compile(r"[a-z][a-z0-9+]*://\S+|/[^\x00-\x1f]+")


def check_database(text: str) -> None:
    """Raise UsageError for what is neither: a mistyped address would become the name of a new file."""
    if not ADDRESS.match(text):
        raise UsageError(
            f"--database {text!r} is neither an address nor an absolute path",
            hint="name postgresql://USER@HOST/NAME, or /absolute/file.sqlite3",
        )
