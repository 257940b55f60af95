"""The small types that every room shares: whom to tell, on which kind of device, how far something is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

Say = Callable[[str], None]
"""Takes one line for the person who waits."""

Watch = Callable[[int, int], None]
"""Takes how much is done, and how much there is in all."""

DownloadWatch = Callable[[int, int | None], None]
"""Takes the bytes that are there and those of the whole, None where the server does not say."""

Device = Literal["cuda", "cpu"]
"""What an environment is built for."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """`done` of `total` (None if unknown) of a phase, in bytes or in packages, files or objects."""

    phase: str
    done: int
    total: int | None
    unit: Literal["bytes", "packages", "files", "objects"]


ProgressWatch = Callable[[Progress], None]


def unwatched(progress: Progress) -> None:
    """Ignore the progress."""


@dataclass(frozen=True, kw_only=True)
class Planned:
    """What --dry-run says would be done: a verb, what to, and how much or why."""

    action: str
    target: str
    detail: str = ""
