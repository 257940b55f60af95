"""How an environment is to be built; quick to import, because a command that finds it ready builds nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from admlops.environments.progress import ProgressWatch, unwatched

BackendChoice = Literal["auto", "conda", "venv"]


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build: `jobs` compilers at once (None: as many as memory allows); `trust_first_use` of unknown hashes."""

    backend: BackendChoice = "auto"
    jobs: int | None = None
    trust_first_use: bool = False
    use_packs: bool = True
    progress: ProgressWatch = unwatched
