"""What a simulation assumes: whose latencies, drawn how, taken in which order, and how outputs age."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

Schedule = Literal["newest", "shrinking-tail"]
SCHEDULES: tuple[Schedule, ...] = ("newest", "shrinking-tail")
"""Which input a late processor takes; `simulation` defines both."""
Draw = Literal["sequential", "seeded"]
DRAWS: tuple[Draw, ...] = ("sequential", "seeded")
"""Latencies as they come, or drawn from a seed."""
Strategy = Literal["copy", "velocity"]
STRATEGIES: tuple[Strategy, ...] = ("copy", "velocity")
"""copy: boxes stay where they are in the global frame. velocity: they move on by their own velocity times their age."""

Clock = Literal["inference", "end-to-end"]
CLOCKS: tuple[Clock, ...] = ("inference", "end-to-end")
"""The model call alone, as ASAP measures it, or with reading, decoding and converting."""


@dataclass(frozen=True, kw_only=True)
class StreamOptions:
    """The assumptions.

    Attributes:
        latencies_us: of another device; None for the run's own.
        device: what `latencies_us` were measured on, for readers.
    """

    clock: Clock = "inference"
    draw: Draw = "sequential"
    seed: int = 0
    schedule: Schedule = "newest"
    factor: Fraction = Fraction(1)
    latencies_us: Sequence[int] | None = None
    device: str | None = None

    @property
    def suffix(self) -> str:
        """The suffix of a protocol's name: empty for the run's own latencies, as they were."""
        parts: list[str] = []
        if self.clock != "inference":
            parts.append(self.clock)
        if self.draw != "sequential":
            parts.append(f"seed-{self.seed}")
        if self.schedule != "newest":
            parts.append(self.schedule)
        if self.factor != 1:
            parts.append(f"x{float(self.factor):g}")
        if self.latencies_us is not None:
            parts.append(f"latencies-of-{self.device or 'another-device'}")
        return "".join(f".{part}" for part in parts)

    def to_json(self) -> dict[str, object]:
        """The form in metrics.json."""
        return {
            "clock": self.clock,
            "draw": self.draw,
            "seed": self.seed if self.draw == "seeded" else None,
            "schedule": self.schedule,
            "factor": float(self.factor),
            "device": self.device,
        }


USUAL = StreamOptions()
