"""Where downloads are kept for the next environment.

`ADMLOPS_CACHE` names the folder; without it, archives of conda packages and wheels that no index has lie in the
repository folder, which outlives a stopped pod, and uv uses its own cache on the container's disk.
"""

from __future__ import annotations

import os
from pathlib import Path

from admlops.core.paths import Layout, user_path

CACHE_VARIABLE = "ADMLOPS_CACHE"


def cache_folder(layout: Layout) -> Path:
    """Give the folder for downloads that are checked against a lock each time they are used."""
    named = os.environ.get(CACHE_VARIABLE)
    return user_path(named).resolve() if named else layout.repository / "cache"
