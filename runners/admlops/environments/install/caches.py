"""Where downloads are kept for the next environment.

`ADMLOPS_CACHE` names the folder; without it, archives of conda packages and wheels that no index has lie in the
repository folder, which outlives a stopped pod, and uv uses its own cache on the container's disk.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from admlops.core.paths import Layout

CACHE_VARIABLE = "ADMLOPS_CACHE"


def cache_folder(layout: Layout) -> Path:
    """The folder for downloads that are checked against a lock each time they are used."""
    named = os.environ.get(CACHE_VARIABLE)
    return Path(named).expanduser().resolve() if named else layout.repository / "cache"


def uv_settings(layout: Layout) -> Mapping[str, str]:
    """The variables for uv: its own ones of this process, an index's credentials among them, and a usable cache."""
    settings = {name: value for name, value in os.environ.items() if name.startswith("UV_")}
    if not settings.get("UV_CACHE_DIR") and (CACHE_VARIABLE in os.environ or not _is_writable(_default_uv_cache())):
        settings["UV_CACHE_DIR"] = str(cache_folder(layout) / "uv")
    return settings


def _default_uv_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "uv"


def _is_writable(folder: Path) -> bool:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)
