"""How an environment is to be built; quick to import, because a command that finds it ready builds nothing."""

from __future__ import annotations

from dataclasses import dataclass

from admlops.core.types import ProgressWatch, unwatched

AUTO = "auto"
"""The first installer of the specification that works here."""


@dataclass(frozen=True, kw_only=True)
class BuildOptions:
    """How to build: by which `installer`, with how many compilers at once (`jobs`; None: as many as memory allows)."""

    installer: str = AUTO
    jobs: int | None = None
    use_packs: bool = True
    progress: ProgressWatch = unwatched
