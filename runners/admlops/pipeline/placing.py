"""Which workers have room beside each other: what they need, against what the machine and its GPUs have left.

On GPUs the card's memory and the machine's decide. On a CPU the machine's memory and its cores decide: workers that
wait share cores, workers that compute do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import UsageError
from admlops.execution.executor import Executor
from admlops.health.machine import MEGABYTE, Gpus, available_memory_bytes
from admlops.pipeline.memory_table import MemoryRow
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_watch import is_elsewhere, used_gpus

MARGIN = 1.05
"""The factor on measured memory: allocators fragment, and inputs differ."""
CORES_MARGIN = 1.1
"""The factor on the machine's cores: a tenth too many slows nobody by more than a tenth."""


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What workers take: of each GPU [MB], of the machine's memory [MB], and cores. None if unknown."""

    gpu_mb: float | None
    host_mb: float
    cores: float | None

    def times(self, workers: int) -> Needs:
        """Return what this many workers take together."""
        return Needs(
            gpu_mb=None if self.gpu_mb is None else self.gpu_mb * workers,
            host_mb=self.host_mb * workers,
            cores=None if self.cores is None else self.cores * workers,
        )


def needs_of(row: MemoryRow) -> Needs:
    """Return what one measured worker needs, with a margin for its memory."""
    return Needs(
        gpu_mb=None if row.gpu_mb is None else row.gpu_mb * MARGIN, host_mb=row.host_mb * MARGIN, cores=row.cores
    )


@dataclass(frozen=True, kw_only=True)
class Room:
    """What workers may take together: of each GPU [MB], None without one; of the machine's memory [MB]; and cores.

    `said` says where the first two numbers are from.
    """

    gpu_mb: float | None
    host_mb: float
    cores: float
    devices: int
    said: str

    def why_not(self, needs: Iterable[Needs]) -> str:
        """Say what is lacking if these run at once; empty if all have room. `needs` are of one device each."""
        several = list(needs)
        if self.gpu_mb is not None:
            gpu = sum(one.gpu_mb or 0.0 for one in several)
            if gpu > self.gpu_mb:
                return f"{gpu:,.0f} MB of GPU memory, and there are {self.gpu_mb:,.0f}"
        host = sum(one.host_mb for one in several) * self.devices
        if host > self.host_mb:
            return f"{host:,.0f} MB of memory, and there are {self.host_mb:,.0f}"
        cores = sum(self.cores if one.cores is None else one.cores for one in several)
        if self.gpu_mb is None and len(several) > 1 and cores > self.cores * CORES_MARGIN:
            return f"{cores:.1f} cores, and there are {self.cores:g}"
        return ""


def measure_room(request: RunRequest, executor: Executor, machine: Mapping[str, Any]) -> Room:
    """Return the room on the devices of an executor, as it is now, below the limit of the request.

    The limit is of a GPU's memory; on a CPU, of the machine's.

    Raises:
        UsageError: the GPU does not say how much memory it has, and no limit in megabytes was given.
    """
    if is_elsewhere(executor):
        raise UsageError(
            f"--executor {request.executor} runs workers on other machines, of whose memory this one knows nothing",
            hint="leave --together and --throughput out, or run them on one machine without --executor",
        )
    devices = {slot.device.id: slot.device for slot in executor.slots()}
    free_mb = available_memory_bytes() / MEGABYTE
    first = next(iter(devices.values()))
    cores = float(machine["cpu_count"] or 1)
    if first.kind == "cpu":
        limit = _limit(request, float(machine["memory_mb"]))
        host = free_mb if limit is None else min(free_mb, limit)
        said = _spell(host, limit, "memory")
        return Room(gpu_mb=None, host_mb=host, cores=cores, devices=1, said=f"{said}, {cores:g} cores")
    sizes = [one.memory_mb for one in devices.values() if one.memory_mb is not None]
    if len(sizes) != len(devices) and request.gpu_memory_limit_mb is None:
        raise UsageError(
            f"{first.id} ({first.name}) does not say how much memory it has, so nobody knows what has room on it",
            hint="pass --gpu-memory-limit 20GB, for example",
        )
    limit = _limit(request, min(sizes, default=0.0))
    left = [size - taken for size, taken in zip(sizes, _taken_mb(executor, len(sizes)), strict=True)]
    gpu = min([*left, *(() if limit is None else (limit,))])
    return Room(
        gpu_mb=gpu, host_mb=free_mb, cores=cores, devices=len(devices), said=_spell(gpu, limit, "memory of each GPU")
    )


def _limit(request: RunRequest, whole_mb: float) -> float | None:
    if request.gpu_memory_share is not None:
        return request.gpu_memory_share * whole_mb
    return request.gpu_memory_limit_mb


def _taken_mb(executor: Executor, count: int) -> list[float]:
    """Return what is taken of each GPU before any worker is there: the most of any, for each; 0 without NVML."""
    used = used_gpus(executor)
    readings = [one for one in Gpus().read() if used is None or one.uuid in used]
    return [max((one.memory_mb or 0.0 for one in readings), default=0.0)] * count


def _spell(megabytes: float, limit: float | None, what: str) -> str:
    how = "the limit" if limit is not None and megabytes == limit else "all that is free"
    return f"{megabytes:,.0f} MB of {what} ({how})"
