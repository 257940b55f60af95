"""One line of `evaluation.py`: the same metric by our code and by the official one, on the same data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any


@dataclass
class Timing:
    """Wall and processor seconds, and how many programs wanted a processor when it began (`uptime`'s first number)."""

    wall_s: float = 0.0
    cpu_s: float = 0.0
    load: float = 0.0


@contextmanager
def timed() -> Iterator[Timing]:
    """Fill the timing of a block when it ends; processor seconds are those of this process and all its threads."""
    timing = Timing(load=os.getloadavg()[0])
    wall, cpu = time.perf_counter(), time.process_time()
    yield timing
    timing.wall_s, timing.cpu_s = time.perf_counter() - wall, time.process_time() - cpu


def best_of(measure: Callable[[], Any], repeats: int = 1) -> tuple[Timing, Any]:
    """The fastest of some repetitions, and what it gave."""
    found = []
    for _ in range(repeats):
        with timed() as timing:
            value = measure()
        found.append((timing, value))
    return min(found, key=lambda pair: pair[0].wall_s)


def official_timing(said: Mapping[str, Any], *, load: float, prefix: str = "", factor: float = 1.0) -> Timing:
    """What an official evaluator said of its own time, scaled."""
    wall, cpu = said[f"{prefix}seconds"], said[f"{prefix}cpu_seconds"]
    return Timing(wall_s=wall * factor, cpu_s=cpu * factor, load=load)


@dataclass(frozen=True, kw_only=True)
class Row:
    """Both sides' times and the largest difference between their numbers.

    `official` and `max_abs_difference` are None where the official side did not run. `measured` says on how much of the
    data it ran: what is scaled is extrapolated. `peak_mb` is the most memory that our side's processes held, and
    `official_peak_mb` what the official side's held on the data that it ran on.
    """

    name: str
    ours: Timing
    official: Timing | None = None
    measured: str = ""
    max_abs_difference: float | None = None
    peak_mb: float | None = None
    official_peak_mb: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is, on the clock."""
        return None if self.official is None else self.official.wall_s / self.ours.wall_s

    @property
    def cpu_ratio(self) -> float | None:
        """How many times less processor time ours takes: other programs on the machine do not change it."""
        return None if self.official is None else self.official.cpu_s / max(self.ours.cpu_s, 1e-9)


def describe_share(part: int, whole: int, what: str) -> str:
    """On how much of the data the official side ran."""
    if part >= whole:
        return f"all {whole} {what}"
    return f"{part} of {whole} {what}, × {whole / part:.1f}"
