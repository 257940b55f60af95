"""How far an installation is, as whoever shows it is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` (None if unknown), in bytes or in packages, files or objects."""

    phase: str
    done: int
    total: int | None
    unit: Literal["bytes", "packages", "files", "objects"]


ProgressWatch = Callable[[Progress], None]
Say = Callable[[str], None]


def unwatched(progress: Progress) -> None:
    """A watch for those who do not look."""
