"""Every GPU's values of this moment under the names that NVIDIA's DCGM exporter gives them, read from NVML.

The names, units and labels are those of dcgm-exporter's default counters, so that dashboards made for it work. Memory
is in MiB here, and only here: everywhere else in admlops MB are 10⁶ bytes. A value that the driver does not tell is
left out. DCGM's profiling counters (DCGM_FI_PROF_…) are not among them: NVML has no equal of theirs.

Source: NVIDIA/dcgm-exporter, etc/default-counters.csv; NVML API reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.health.machine import Gpus

MEBIBYTE = 1 << 20
EVENT_WAIT_MS = 0
MOST_EVENTS = 64
"""How many XID events are taken from the driver's queue at a time."""


@dataclass(frozen=True, kw_only=True)
class GpuMetric:
    """A metric's name, whether it only ever grows, and what it means; `of_board` where a slice (MIG) has none."""

    name: str
    help: str
    counts: bool = False
    of_board: bool = True


METRICS: tuple[GpuMetric, ...] = (
    GpuMetric(name="DCGM_FI_DEV_SM_CLOCK", help="SM clock frequency (in MHz)."),
    GpuMetric(name="DCGM_FI_DEV_MEM_CLOCK", help="Memory clock frequency (in MHz)."),
    GpuMetric(name="DCGM_FI_DEV_GPU_TEMP", help="GPU temperature (in C)."),
    GpuMetric(name="DCGM_FI_DEV_POWER_USAGE", help="Power draw (in W)."),
    GpuMetric(
        name="DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION", help="Total energy consumption since boot (in mJ).", counts=True
    ),
    GpuMetric(name="DCGM_FI_DEV_GPU_UTIL", help="GPU utilization (in %)."),
    GpuMetric(name="DCGM_FI_DEV_MEM_COPY_UTIL", help="Memory utilization (in %)."),
    GpuMetric(name="DCGM_FI_DEV_XID_ERRORS", help="Value of the last XID error encountered."),
    GpuMetric(name="DCGM_FI_DEV_FB_FREE", help="Framebuffer memory free (in MiB).", of_board=False),
    GpuMetric(name="DCGM_FI_DEV_FB_USED", help="Framebuffer memory used (in MiB).", of_board=False),
)


@dataclass(frozen=True, kw_only=True)
class GpuValues:
    """One GPU, or one slice of a divided one, at one moment; `values` by the names of METRICS.

    `uuid` is the board's also for a slice, as DCGM has it; `instance` and `profile` name the slice.
    """

    index: int
    uuid: str
    pci_bus_id: str
    name: str
    values: Mapping[str, float]
    instance: str = ""
    profile: str = ""


class GpuMetrics:
    """Reads all GPUs again and again; keeps the last XID error of each. `nvml` stands for the driver's library."""

    def __init__(self, nvml: Any = None) -> None:
        if nvml is None:
            import pynvml  # loads the driver's library

            nvml = pynvml
        self._nvml = nvml
        self._gpus = Gpus(nvml)
        self._boards = {index: nvml.nvmlDeviceGetHandleByIndex(index) for index, _ in self._gpus.handles}
        self._xids: dict[str, int] = {}
        self._events = self._listen()

    def read(self) -> list[GpuValues]:
        """Read every board, and every slice of those that are divided."""
        self._take_events()
        found = []
        for index, board in self._boards.items():
            handles = [handle for number, handle in self._gpus.handles if number == index]
            slices = [handle for handle in handles if self._is_slice(handle)]
            values = self._board_values(board) | ({} if slices else self._memory(board))
            found.append(self._describe(index, board, values))
            found += [self._describe_slice(index, board, handle) for handle in slices]
        return found

    def _is_slice(self, handle: Any) -> bool:
        return bool(self._gpus.ask("nvmlDeviceIsMigDeviceHandle", handle))

    def _describe(self, index: int, board: Any, values: Mapping[str, float], **more: str) -> GpuValues:
        pci = self._gpus.ask("nvmlDeviceGetPciInfo", board)
        bus = getattr(pci, "busId", "") if pci is not None else ""
        return GpuValues(
            index=index,
            uuid=str(self._gpus.ask("nvmlDeviceGetUUID", board) or ""),
            pci_bus_id=bus.decode() if isinstance(bus, bytes) else str(bus),
            name=str(self._gpus.ask("nvmlDeviceGetName", board) or ""),
            values=values,
            **more,
        )

    def _describe_slice(self, index: int, board: Any, handle: Any) -> GpuValues:
        profile = re.search(r"MIG (\S+)", str(self._gpus.ask("nvmlDeviceGetName", handle) or ""))
        instance = self._gpus.ask("nvmlDeviceGetGpuInstanceId", handle)
        return self._describe(
            index,
            board,
            self._memory(handle),
            instance="" if instance is None else str(instance),
            profile=profile[1] if profile else "",
        )

    def _board_values(self, board: Any) -> dict[str, float]:
        nvml, ask = self._nvml, self._gpus.ask
        utilization = ask("nvmlDeviceGetUtilizationRates", board)
        uuid = str(ask("nvmlDeviceGetUUID", board))
        found = {
            "DCGM_FI_DEV_SM_CLOCK": ask("nvmlDeviceGetClockInfo", board, getattr(nvml, "NVML_CLOCK_SM", 1)),
            "DCGM_FI_DEV_MEM_CLOCK": ask("nvmlDeviceGetClockInfo", board, getattr(nvml, "NVML_CLOCK_MEM", 2)),
            "DCGM_FI_DEV_GPU_TEMP": ask("nvmlDeviceGetTemperature", board, getattr(nvml, "NVML_TEMPERATURE_GPU", 0)),
            "DCGM_FI_DEV_POWER_USAGE": _scaled(ask("nvmlDeviceGetPowerUsage", board), 1e-3),
            "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION": ask("nvmlDeviceGetTotalEnergyConsumption", board),
            "DCGM_FI_DEV_GPU_UTIL": None if utilization is None else utilization.gpu,
            "DCGM_FI_DEV_MEM_COPY_UTIL": None if utilization is None else utilization.memory,
            "DCGM_FI_DEV_XID_ERRORS": None if self._events is None else self._xids.get(uuid, 0),
        }
        return {name: float(value) for name, value in found.items() if value is not None}

    def _memory(self, handle: Any) -> dict[str, float]:
        """Read used and free memory; what the driver keeps for itself counts as neither where it says so."""
        version = getattr(self._nvml, "nvmlMemory_v2", None)
        memory = None if version is None else self._gpus.ask("nvmlDeviceGetMemoryInfo", handle, version)
        memory = memory or self._gpus.ask("nvmlDeviceGetMemoryInfo", handle)
        if memory is None:
            return {}
        free = getattr(memory, "free", memory.total - memory.used)
        return {"DCGM_FI_DEV_FB_FREE": free // MEBIBYTE, "DCGM_FI_DEV_FB_USED": memory.used // MEBIBYTE}

    def _listen(self) -> Any:
        """Ask the driver to queue critical errors; None where it will not, as for a slice alone."""
        kind = getattr(self._nvml, "nvmlEventTypeXidCriticalError", None)
        if kind is None or not self._boards:
            return None
        make: Callable[[], Any] = self._nvml.nvmlEventSetCreate
        try:
            events = make()
            for board in self._boards.values():
                self._nvml.nvmlDeviceRegisterEvents(board, kind, events)
        except self._nvml.NVMLError:
            return None
        return events

    def _take_events(self) -> None:
        if self._events is None:
            return
        for _ in range(MOST_EVENTS):
            try:
                event = self._nvml.nvmlEventSetWait_v2(self._events, EVENT_WAIT_MS)
            except self._nvml.NVMLError:  # a time-out: the queue is empty
                return
            uuid = self._gpus.ask("nvmlDeviceGetUUID", event.device)
            self._xids[str(uuid)] = int(event.eventData)


def _scaled(value: Any, factor: float) -> float | None:
    return None if value is None else value * factor
