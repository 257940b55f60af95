"""One line of `evaluation.py`: the same metric by our code and by the official one, on the same data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Row:
    """Seconds of both sides and the largest difference between their numbers.

    `official_s` and `max_abs_difference` are None where the official side did not run; `note` says what it takes to
    read the line, such as what `ours_s` includes.
    """

    name: str
    ours_s: float
    official_s: float | None = None
    max_abs_difference: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """How many times faster ours is."""
        return None if self.official_s is None else self.official_s / self.ours_s
