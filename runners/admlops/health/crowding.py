"""How crowded this machine's processor is: how many times longer work takes because others compute too."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

PRESSURE_FILES = (Path("/sys/fs/cgroup/cpu.pressure"), Path("/proc/pressure/cpu"))
"""The share of time in which something that could compute waited: this container's, or the machine's."""
LOAD_FILE = Path("/proc/loadavg")
WAITING_PERCENT = 10.0
"""Below this nothing here waits for a core, whatever the rest of a shared machine does."""


def read_crowding(
    *, pressure: tuple[Path, ...] = PRESSURE_FILES, load: Path = LOAD_FILE, cores: int | None = None
) -> float:
    """Return how many programs want each core, at least 1, over the last minute.

    The load average counts the programs of the whole machine, so it is divided by all its cores. A container whose own
    programs do not wait (its CPU pressure is low) is not crowded on a loaded machine either. 1 where neither is known.
    """
    waited = next((share for file in pressure if (share := _read_waiting(file)) is not None), None)
    if waited is not None and waited < WAITING_PERCENT:
        return 1.0
    with suppress(OSError, ValueError, IndexError):
        wanting = float(load.read_text().split()[0])
        return max(1.0, wanting / (cores or os.cpu_count() or 1))
    return 1.0


def _read_waiting(file: Path) -> float | None:
    """Read `some avg60` of a pressure file [%]; None where the kernel keeps none."""
    with suppress(OSError):
        found = re.search(r"^some .*\bavg60=([\d.]+)", file.read_text(), re.MULTILINE)
        return None if found is None else float(found.group(1))
    return None
