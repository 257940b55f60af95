"""Describing the machine, and reading its GPUs.

GPU numbers are device totals from NVML: inside a container NVML's per-process memory reads zero.
"""

from __future__ import annotations

import os
import platform
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from admlops.core.cgroups import ROOT, memory_left_bytes

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment: device totals; None where the driver does not say (MIG slices, some laptops)."""

    index: int
    utilization_percent: float | None
    memory_mb: float | None
    power_w: float | None
    energy_j: float | None
    uuid: str | None = None


NOT_LOADED, NO_LIBRARY = 9, 12
"""NVML's error numbers for "driver not loaded" and "library not found"."""
DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
"""Where one of these is, a driver was loaded when the machine started."""


class Gpus:
    """The NVIDIA GPUs of this machine, and the slices (MIG) of those that are divided.

    Without a driver there are none. A driver that is there and fails is a `problem`; a GPU that it lists and that does
    not answer is one of `lost`. `nvml` stands for the driver's library.
    """

    def __init__(self, nvml: Any = None) -> None:
        if nvml is None:
            import pynvml  # loads the driver's library

            nvml = pynvml
        self._nvml = nvml
        self._handles: list[Any] = []
        self._indices: list[int] = []
        self._loaded = False
        self.problem: str | None = None
        self.lost: dict[int, str] = {}
        try:
            nvml.nvmlInit()
            self._loaded = True
            count = int(nvml.nvmlDeviceGetCount())
        except nvml.NVMLError as error:
            self.problem = None if _says_no_driver(error) else str(error)
            return
        for index in range(count):
            try:
                handles = self._slices(nvml.nvmlDeviceGetHandleByIndex(index))
            except nvml.NVMLError as error:
                self.lost[index] = str(error)
                continue
            self._handles += handles
            self._indices += [index] * len(handles)

    @property
    def handles(self) -> tuple[tuple[int, Any], ...]:
        """The GPU's number and NVML's handle of every GPU and slice."""
        return tuple(zip(self._indices, self._handles, strict=True))

    def describe(self) -> dict[str, Any]:
        """Return driver, devices, and what is wrong: `problem` (None if nothing) and `lost` (a list of texts).

        A device has index, name, total memory [MB], compute capability and uuid; None where the driver does not say.
        """
        driver = self.ask("nvmlSystemGetDriverVersion") if self._loaded else None
        devices = []
        for index, handle in self.handles:
            memory = self.ask("nvmlDeviceGetMemoryInfo", handle)
            capability = self.ask("nvmlDeviceGetCudaComputeCapability", handle)
            devices.append(
                {
                    "index": index,
                    "name": self.ask("nvmlDeviceGetName", handle),
                    "memory_mb": None if memory is None else memory.total / MEGABYTE,
                    "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
                    "uuid": self.ask("nvmlDeviceGetUUID", handle),
                }
            )
        lost = [f"GPU {index}: {reason}" for index, reason in self.lost.items()]
        return {"driver": driver, "devices": devices, "problem": self.problem, "lost": lost}

    def read(self) -> list[GpuReading]:
        """Read every GPU once."""
        return [self._read_one(index, handle) for index, handle in enumerate(self._handles)]

    def _read_one(self, index: int, handle: Any) -> GpuReading:
        utilization = self.ask("nvmlDeviceGetUtilizationRates", handle)
        memory = self.ask("nvmlDeviceGetMemoryInfo", handle)
        power_mw = self.ask("nvmlDeviceGetPowerUsage", handle)
        energy_mj = self.ask("nvmlDeviceGetTotalEnergyConsumption", handle)
        return GpuReading(
            index=index,
            utilization_percent=None if utilization is None else float(utilization.gpu),
            memory_mb=None if memory is None else memory.used / MEGABYTE,
            power_w=None if power_mw is None else power_mw / 1e3,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
            uuid=self.ask("nvmlDeviceGetUUID", handle),
        )

    def _slices(self, handle: Any) -> list[Any]:
        """Return the MIG slices of a GPU that is divided; else the GPU itself."""
        mode = self.ask("nvmlDeviceGetMigMode", handle)
        if not isinstance(mode, list | tuple) or mode[0] != 1:
            return [handle]
        count = self.ask("nvmlDeviceGetMaxMigDeviceCount", handle)
        slices = [self.ask("nvmlDeviceGetMigDeviceHandleByIndex", handle, index) for index in range(int(count or 0))]
        return [one for one in slices if one is not None]

    def ask(self, question: str, *arguments: Any) -> Any:
        """Call a function of NVML; None where the driver, or its library, cannot answer."""
        function = getattr(self._nvml, question, None)
        if function is None:
            return None
        try:
            answer = function(*arguments)
        except self._nvml.NVMLError:
            return None
        return answer.decode() if isinstance(answer, bytes) else answer


def _says_no_driver(error: Exception) -> bool:
    """Tell a machine without a driver from one whose driver fails."""
    code, text = getattr(error, "value", None), str(error)
    if code == NOT_LOADED or "Driver Not Loaded" in text:
        return not any(file.exists() for file in DEVICE_FILES)
    return code == NO_LIBRARY or "Shared Library Not Found" in text


def describe_machine() -> dict[str, Any]:
    """Describe what a run is measured on: operating system, CPU, memory, GPUs; no name that could tell who owns it."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cpu_count": os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / MEGABYTE),
        "gpus": Gpus().describe(),
    }


def available_memory_bytes(cgroups: Path = ROOT) -> int:
    """Return the memory that a program may still take: the machine's free memory, or less under a container's limit."""
    available = int(psutil.virtual_memory().available)
    left = memory_left_bytes(cgroups)
    return available if left is None else min(available, left)


def _cpu_name() -> str:
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
