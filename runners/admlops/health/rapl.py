"""The processor's energy counters (RAPL), as Linux shows them in /sys/class/powercap.

A zone counts microjoules and begins anew at 0 beyond `max_energy_range_uj`. Since Linux 5.10 only root may read the
counters, and containers mostly do not show them at all: then there are none. Zones of packages hold their cores; memory
is a zone of its own below its package.

Source: Linux, Documentation/power/powercap/powercap.rst.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")


@dataclass(frozen=True, kw_only=True)
class ZoneReading:
    """One zone at one moment: its name, such as `package-0`, its counter [µJ] and where that wraps around [µJ]."""

    zone: str
    energy_uj: int
    max_energy_uj: int


class Rapl:
    """The zones of this machine that may be read."""

    def __init__(self, root: Path = POWERCAP) -> None:
        self._zones = tuple(_find_zones(root))

    def __bool__(self) -> bool:
        return bool(self._zones)

    def read(self) -> list[ZoneReading]:
        """Read every zone once; one that cannot be read any more is left out."""
        found = []
        for name, folder, largest in self._zones:
            value = _read_number(folder / "energy_uj")
            if value is not None:
                found.append(ZoneReading(zone=name, energy_uj=value, max_energy_uj=largest))
        return found


def _find_zones(root: Path) -> Iterator[tuple[str, Path, int]]:
    """List packages and their memory; all other zones count a part of a package, or the whole machine (`psys`)."""
    for folder in sorted(root.glob("*-rapl:*")):
        depth = folder.name.count(":")
        name = _read_text(folder / "name")
        if depth == 1 and name.startswith("package"):
            title = name
        elif depth == 2 and name == "dram":
            title = f"{_read_text(folder.parent / folder.name.rpartition(':')[0] / 'name')} {name}"
        else:
            continue
        largest = _read_number(folder / "max_energy_range_uj")
        if largest and _read_number(folder / "energy_uj") is not None:
            yield title, folder, largest


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _read_number(path: Path) -> int | None:
    text = _read_text(path)
    return int(text) if text.isdigit() else None
