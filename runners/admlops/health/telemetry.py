"""Sampling a machine's CPU, memory, GPUs and energy counters while a run goes on.

A line says in which phase of the run it was read, so that energy can be told apart: `idle` before any worker was
started, `start` while workers load, `measure` from the first answered sample on, `end` from the last one on. A change
of phase is a line of its own, read at that moment.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psutil

from admlops.core.storage import explain_os_error
from admlops.health.energy_estimate import EnergyEstimate
from admlops.health.machine import MEGABYTE, GpuReading, Gpus
from admlops.health.rapl import POWERCAP, Rapl

Phase = Literal["idle", "start", "measure", "end"]
IDLE_S = 3.0
"""How long idle power is measured: NVML's counter moves every 0.1 s, which makes about 3 %."""


class TelemetrySampler:
    """Appends one JSON line every `interval_s` to a file while the block runs, from a thread of its own.

    Args:
        worker_pids: tells which processes are workers now; their memory is the sum over them and their children.
        used: the uuids of the GPUs that the run is on; empty for a run on the CPU, None where they are not known.
        powercap: where Linux shows the processor's energy counters.
        estimate: estimates the energy of the window, where nothing measures it.
    """

    def __init__(
        self,
        path: Path,
        *,
        worker_pids: Callable[[], Iterable[int]],
        interval_s: float = 0.5,
        used: Collection[str] | None = None,
        powercap: Path = POWERCAP,
        estimate: EnergyEstimate | None = None,
    ) -> None:
        self._path = path
        self._worker_pids = worker_pids
        self._interval_s = interval_s
        self._used = used
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped, name="telemetry", daemon=True)
        self._gpus = Gpus()
        self._rapl = Rapl(powercap)
        self._writing = threading.Lock()
        self._phase: Phase = "start"
        self._samples = 0
        self._estimate = estimate
        self._estimated: dict[str, Any] = {}
        self._gpu_before: dict[int, float] = {}
        self._gpu_most: dict[int, float] = {}
        self.worker_memory_peak_mb = 0.0
        """The most that all workers had together [MB, 10⁶ bytes]."""

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("a", encoding="utf-8")
        except OSError as error:
            raise explain_os_error(error, self._path) from error
        if self._estimate is not None:
            self._estimate.start()
        self._begun = time.monotonic()
        self._note_gpu_memory(self._gpus.read())
        psutil.cpu_percent()  # the first call only sets the point to measure from
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._phase == "measure":
            self.enter("end")
        self._stop.set()
        self._thread.join()
        with suppress(OSError):  # a full disk has ended the run already; its error is the one to show
            self._file.close()

    @property
    def gpu_memory_growth_mb(self) -> float | None:
        """The largest growth of a used GPU's memory since before the run [MB]; None where NVML is silent.

        It is the device's total, so it includes whatever else was started on it meanwhile.
        """
        self._note_gpu_memory(self._gpus.read())
        return max((most - self._gpu_before[index] for index, most in self._gpu_most.items()), default=None)

    @property
    def can_measure_energy(self) -> bool:
        """Tell whether an energy counter or a power reading of the run's devices answers."""
        gpus = [one for one in self._gpus.read() if self._is_used(one)]
        return bool(self._rapl) or any(one.energy_j is not None or one.power_w is not None for one in gpus)

    def measure_idle(self, seconds: float = IDLE_S, *, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Wait while nothing runs, to learn idle power; return at once where no energy can be measured."""
        if not self.can_measure_energy:
            return
        self.enter("idle")
        until = time.monotonic() + seconds
        while time.monotonic() < until and not cancelled():
            time.sleep(min(0.1, seconds))
        self.enter("start")

    def enter(self, phase: Phase) -> None:
        """Begin a phase, with a reading at this moment."""
        if phase == self._phase:
            return
        if self._estimate is not None and self._phase == "measure":
            self._estimated = {"estimate": {"method": self._estimate.method, "energy_j": self._estimate.stop()}}
        self._phase = phase
        self._write()
        if self._estimate is not None and phase == "measure":
            self._estimate.begin()

    def count(self, samples: int) -> None:
        """Take note of answered samples; the first one ends the warm-up."""
        self._samples += samples
        if samples > 0 and self._phase == "start":
            self.enter("measure")

    def _sample_until_stopped(self) -> None:
        while not self._stop.wait(self._interval_s):
            if not self._write():
                return  # a full disk: the run itself meets it and says so

    def _write(self) -> bool:
        with self._writing:
            try:
                self._file.write(json.dumps(self._reading()) + "\n")
                self._file.flush()
            except (OSError, ValueError):  # ValueError: the file is closed, at the very end
                return False
        return True

    def _note_gpu_memory(self, readings: Iterable[GpuReading]) -> None:
        for one in readings:
            if one.memory_mb is not None and self._is_used(one):
                self._gpu_before.setdefault(one.index, one.memory_mb)
                self._gpu_most[one.index] = max(one.memory_mb, self._gpu_most.get(one.index, 0.0))

    def _reading(self) -> dict[str, Any]:
        gpus = self._gpus.read()
        self._note_gpu_memory(gpus)
        workers_mb = sum(_tree_memory_mb(pid) for pid in self._worker_pids())
        self.worker_memory_peak_mb = max(workers_mb, self.worker_memory_peak_mb)
        line = {
            "t": round(time.monotonic() - self._begun, 3),
            "phase": self._phase,
            "samples": self._samples,
            "cpu_percent": psutil.cpu_percent(),
            "host_memory_mb": round(psutil.virtual_memory().used / MEGABYTE, 1),
            "worker_memory_mb": round(workers_mb, 1),
            "gpus": [{**asdict(one), "used": self._is_used(one)} for one in gpus],
        }
        zones = self._rapl.read()
        measured = {"rapl": [asdict(zone) for zone in zones]} if zones else {}
        return {**line, **measured, **self._estimated}

    def _is_used(self, reading: GpuReading) -> bool:
        return self._used is None or reading.uuid in self._used


def _tree_memory_mb(pid: int) -> float:
    total = 0.0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for member in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += member.memory_info().rss / MEGABYTE
    return total
