"""How an environment is to be built; quick to import, because a command that finds it ready builds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from admlops.core.types import ProgressWatch, unwatched

COMPRESSED = 3
"""The level of packs, zstd's own default: on site-packages a higher one costs minutes and saves a few per cent."""
STORED = 0
"""The level at which a pack is not compressed: some three times as large, restored in a fraction of the time."""

BackendChoice = Literal["auto", "conda", "venv"]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build: `jobs` compilers at once (None: as many as memory allows); `trust_first_use` of unknown hashes."""

    backend: BackendChoice = "auto"
    jobs: int | None = None
    trust_first_use: bool = False
    use_packs: bool = True
    progress: ProgressWatch = unwatched
