"""How busy this machine is: its GPUs, processor, memory and disk, read once for all who look."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from admlops.health.disks import Disk, describe_disk
from admlops.health.machine import GpuReading, Gpus, available_memory_bytes

FRESH_S = 1.5


@dataclass(frozen=True, kw_only=True)
class GpuNow:
    """A GPU: what it is, and how busy it was a moment ago."""

    name: str
    memory_total_mb: float | None
    reading: GpuReading


@dataclass(frozen=True, kw_only=True)
class MachineNow:
    """A machine at one moment; memory in MB (10⁶ bytes)."""

    gpus: tuple[GpuNow, ...]
    problem: str | None
    """What keeps the GPUs' driver from answering."""
    cpu_percent: float
    memory_used_mb: float
    memory_total_mb: float
    disk: Disk | None


class Machine:
    """Reads the machine; a reading serves everybody for a moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = threading.Lock()
        self._gpus: Gpus | None = None
        self._described: list[dict[str, Any]] = []
        self._last: MachineNow | None = None
        self._at = 0.0
        psutil.cpu_percent()  # the first call only sets the point to measure from

    def read(self) -> MachineNow:
        """Return how the machine is now, or was a moment ago. From any thread."""
        with self._lock:
            if self._last is None or time.monotonic() - self._at > FRESH_S:
                self._last = self._read()
                self._at = time.monotonic()
            return self._last

    def _read(self) -> MachineNow:
        if self._gpus is None:
            self._gpus = Gpus()
            self._described = self._gpus.describe()["devices"]
        total = psutil.virtual_memory().total
        return MachineNow(
            gpus=tuple(
                GpuNow(name=str(one["name"] or "GPU"), memory_total_mb=one["memory_mb"], reading=reading)
                for one, reading in zip(self._described, self._gpus.read(), strict=False)
            ),
            problem=self._gpus.problem,
            cpu_percent=psutil.cpu_percent(),
            memory_used_mb=(total - available_memory_bytes()) / 1e6,
            memory_total_mb=total / 1e6,
            disk=describe_disk(self._folder),
        )
