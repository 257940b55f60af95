"""Options that are quantities: sizes of memory, levels of logging."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import click

MEGABYTES = {"": 1.0, "k": 1e-3, "m": 1.0, "g": 1e3, "t": 1e6}
MEBI = {"k": 1024 / 1e6, "m": 1024**2 / 1e6, "g": 1024**3 / 1e6, "t": 1024**4 / 1e6}
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(?:(%)|([kmgt]?)(i?)(b?))", re.IGNORECASE)
LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
"""What the host and the workers log, as Python's logging counts."""
OTHER_LEVELS = {
    "trace": "debug",
    "notset": "debug",
    "verbose": "debug",
    "notice": "info",
    "warn": "warning",
    "err": "error",
    "critical": "error",
    "fatal": "error",
    "off": "error",
}


@dataclass(frozen=True, kw_only=True)
class MemoryLimit:
    """A limit: megabytes [MB, 10⁶ bytes], or a share of the whole (0 to 1)."""

    megabytes: float | None = None
    share: float | None = None


class GpuMemory(click.ParamType):  # type: ignore[type-arg]  # click before 8.4 has no parameter
    """`2048` (MB), `20GB`, `20GiB`, `20G` or `80%`."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> MemoryLimit:
        """Return the limit; any other text is a mistake that the message explains."""
        if isinstance(value, MemoryLimit):
            return value
        matched = _SIZE.fullmatch(str(value).strip())
        number = float(matched[1]) if matched else 0.0
        if matched is None or number <= 0 or (matched[2] and number > 100):
            self.fail(
                f"{value!r} is no size of memory: write 20480 (MB), 20GB, 20GiB or 80%",
                param,
                ctx,
            )
        if matched[2]:
            return MemoryLimit(share=number / 100)
        unit = (matched[3] or "").lower()
        factor = MEBI[unit] if matched[4] and unit else MEGABYTES[unit]
        if matched[5] and not unit:
            factor = 1e-6  # plain bytes
        return MemoryLimit(megabytes=number * factor)


def read_level(text: str) -> str | None:
    """Return the level that a word or a number means, the nearest one that we have; None for anything else."""
    word = text.strip().lower()
    if word.lstrip("-").isdigit():
        return min(LEVELS, key=lambda level: abs(LEVELS[level] - int(word)))
    return word if word in LEVELS else OTHER_LEVELS.get(word)


class SamplesAtOnce(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number of samples, 1 or more, or `auto`."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number or `auto`; any other text is a mistake that the message explains."""
        if value == "auto":
            return "auto"
        text = str(value).strip()
        if not (text.isascii() and text.isdecimal() and int(text) >= 1):
            self.fail(f"{value!r} is no number of samples: write 1 or more, or auto (option --batch)", param, ctx)
        return int(text)


class ProcessesAhead(click.ParamType):  # type: ignore[type-arg]  # as above
    """A number of processes, 0 or more, or `auto`."""

    name = "N|auto"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | str:
        """Return the number or `auto`; any other text is a mistake that the message explains."""
        text = str(value).strip()
        if text == "auto":
            return text
        if not (text.isascii() and text.isdecimal()):
            self.fail(f"{value!r} is no number of processes: write 0 or more, or auto (option --prefetch)", param, ctx)
        return int(text)
