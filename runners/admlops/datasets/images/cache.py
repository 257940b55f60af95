"""Where copies of pictures lie: turned upright, fetched, or taken from videos. It may be deleted at any time."""

from __future__ import annotations

from pathlib import Path

from admlops.core.paths import find_layout

FOLDER = "cache/images"


def cache_folder() -> Path:
    """Return the folder below the repository."""
    return find_layout().repository / FOLDER
