"""What the machine is and how it fares: CPU, memory and GPUs, sampled while a run goes on.

GPU numbers are device totals from NVML: inside a container NVML's per-process memory reads zero. A machine without an
NVIDIA driver simply has no GPUs here.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import psutil

from admlops.core.cgroups import ROOT, memory_left_bytes
from admlops.core.storage import explain_os_error

MEGABYTE = 1e6


@dataclass(frozen=True, kw_only=True)
class GpuReading:
    """One GPU at one moment: device totals; None where the driver does not say (MIG slices, some laptops)."""

    index: int
    utilization_percent: float | None
    memory_mb: float | None
    power_w: float | None
    energy_j: float | None


NVML_NO_LIBRARY, NVML_NO_DRIVER = 12, 9
DEVICE_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))


class Gpus:
    """The NVIDIA GPUs of this machine; none where there is no driver. `nvml` stands for the driver's library.

    `failure` is what a driver said that is there and does not work; `lost` what it said of each GPU that does not
    answer, by its index.
    """

    def __init__(self, nvml: Any = None) -> None:
        if nvml is None:
            import pynvml  # loads the driver's library

            nvml = pynvml
        self._nvml = nvml
        self._handles: list[Any] = []
        self._loaded = False
        self.failure: str | None = None
        self.lost: dict[int, str] = {}
        try:
            nvml.nvmlInit()
            self._loaded = True
            count = nvml.nvmlDeviceGetCount()
        except nvml.NVMLError as error:
            self.failure = None if _means_no_driver(error) else str(error)
            return
        for index in range(count):
            try:
                self._handles.append(nvml.nvmlDeviceGetHandleByIndex(index))
            except nvml.NVMLError as error:
                self.lost[index] = str(error)

    def describe(self) -> dict[str, Any]:
        """Names, total memory [MB], compute capability and driver; an empty list of devices without a GPU."""
        driver = self._ask(self._nvml.nvmlSystemGetDriverVersion) if self._loaded else None
        devices = []
        for handle in self._handles:
            memory = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)
            capability = self._ask(self._nvml.nvmlDeviceGetCudaComputeCapability, handle)
            devices.append(
                {
                    "name": self._ask(self._nvml.nvmlDeviceGetName, handle),
                    "memory_mb": None if memory is None else memory.total / MEGABYTE,
                    "compute_capability": None if capability is None else f"{capability[0]}.{capability[1]}",
                }
            )
        return {"driver": driver, "devices": devices}

    def read(self) -> list[GpuReading]:
        """Every GPU now."""
        return [self._read_one(index, handle) for index, handle in enumerate(self._handles)]

    def _read_one(self, index: int, handle: Any) -> GpuReading:
        nvml = self._nvml
        utilization = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        memory = self._ask(nvml.nvmlDeviceGetMemoryInfo, handle)
        power_mw = self._ask(nvml.nvmlDeviceGetPowerUsage, handle)
        energy_mj = self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle)
        return GpuReading(
            index=index,
            utilization_percent=None if utilization is None else float(utilization.gpu),
            memory_mb=None if memory is None else memory.used / MEGABYTE,
            power_w=None if power_mw is None else power_mw / 1e3,
            energy_j=None if energy_mj is None else energy_mj / 1e3,
        )

    def _ask(self, question: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return question(*arguments)
        except self._nvml.NVMLError:
            return None


def _means_no_driver(error: Exception) -> bool:
    """Tell a machine without a driver from one whose driver fails."""
    code = getattr(error, "value", None)
    if code == NVML_NO_DRIVER:
        return not any(file.exists() for file in DEVICE_FILES)
    return code == NVML_NO_LIBRARY or "Shared Library Not Found" in str(error)


class TelemetrySampler:
    """Appends one JSON line every `interval_s` to a file while the block runs, from a thread of its own.

    `worker_pids` tells which processes are workers now; their memory is the sum over them and their children.
    """

    def __init__(self, path: Path, *, worker_pids: Callable[[], Iterable[int]], interval_s: float = 0.5) -> None:
        self._path = path
        self._worker_pids = worker_pids
        self._interval_s = interval_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="telemetry", daemon=True)
        self._gpus = Gpus()

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise explain_os_error(error, self._path) from error
        self._begun = time.monotonic()
        psutil.cpu_percent()  # the first call only sets the point to measure from
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        with suppress(OSError):  # a full disk has ended the run already; its error is the one to show
            self._file.close()

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(self._interval_s):
            try:
                self._file.write(json.dumps(self._reading()) + "\n")
                self._file.flush()
            except OSError:
                return  # a full disk: the run itself meets it and says so

    def _reading(self) -> dict[str, Any]:
        return {
            "t": round(time.monotonic() - self._begun, 3),
            "cpu_percent": psutil.cpu_percent(),
            "host_memory_mb": round(psutil.virtual_memory().used / MEGABYTE, 1),
            "worker_memory_mb": round(sum(_tree_memory_mb(pid) for pid in self._worker_pids()), 1),
            "gpus": [asdict(reading) for reading in self._gpus.read()],
        }


def describe_machine() -> dict[str, Any]:
    """What a run was measured on: operating system, CPU, memory, GPUs; no name that could tell who owns it."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "cpu": _cpu_name(),
        "cpu_count": os.process_cpu_count() if hasattr(os, "process_cpu_count") else os.cpu_count(),
        "memory_mb": round(psutil.virtual_memory().total / MEGABYTE),
        "gpus": Gpus().describe(),
    }


def available_memory_bytes(cgroups: Path = ROOT) -> int:
    """What a program may still take: the machine's free memory, or less where a container's limit is lower."""
    available = int(psutil.virtual_memory().available)
    left = memory_left_bytes(cgroups)
    return available if left is None else min(available, left)


def _cpu_name() -> str:
    with suppress(OSError), Path("/proc/cpuinfo").open(encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _tree_memory_mb(pid: int) -> float:
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += member.memory_info().rss / MEGABYTE
    return total
