"""The GPUs that a plan is for: `2xA40`, with memory and price from gpus.toml where it knows them."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import UsageError

TABLE = Path(__file__).with_name("gpus.toml")
ASKED = re.compile(r"(?:(\d{1,4})\s*[x×*]\s*)?(\S.*)")


@dataclass(frozen=True, kw_only=True)
class RentedGpus:
    """`count` GPUs of one model. `usd_per_hour` is of one; `read` the day on which the price was read."""

    count: int
    name: str
    memory_mb: float | None = None
    usd_per_hour: float | None = None
    read: str | None = None

    def __str__(self) -> str:
        return f"{self.count} x {self.name}"

    def names(self, gpu: str) -> bool:
        """Tell whether a driver's name, such as `NVIDIA A40`, is that of this model."""
        return _words(self.name) <= _words(gpu)


def parse_gpus(text: str, *, usd_per_hour: float | None = None) -> RentedGpus:
    """Return what `2xA40` or `RTX 4090` names. Raises UsageError for none, or a GPU that the table does not know."""
    found = ASKED.fullmatch(text.strip())
    if found is None or found[1] == "0":
        raise UsageError(f"--gpus {text!r} names no GPU", hint="pass --gpus 2xA40")
    wanted = _words(found[2])
    for row in known_gpus():
        if _words(row.name) == wanted:
            price = row.usd_per_hour if usd_per_hour is None else usd_per_hour
            return RentedGpus(
                count=int(found[1] or 1),
                name=row.name,
                memory_mb=row.memory_mb,
                usd_per_hour=price,
                read=row.read if usd_per_hour is None else None,
            )
    raise UsageError(
        f"--gpus {text!r} is no GPU of {TABLE.name}",
        hint=f"use one of: {', '.join(row.name for row in known_gpus())}; or add it to {TABLE}",
    )


def known_gpus() -> list[RentedGpus]:
    """Return the rows of gpus.toml."""
    return [
        RentedGpus(
            count=1,
            name=row["name"],
            memory_mb=1000.0 * row["memory_gb"],
            usd_per_hour=row.get("usd_per_hour"),
            read=row.get("read"),
        )
        for row in tomllib.loads(TABLE.read_text())["gpu"]
    ]


def _words(name: str) -> frozenset[str]:
    """What tells a model from others: `NVIDIA GeForce RTX 4090` and `rtx 4090` have the words of the latter."""
    words = re.split(r"[\s\-_]+", name.lower())
    return frozenset(word for word in words if word and word not in {"nvidia", "geforce", "tesla"})
