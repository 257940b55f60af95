"""Times, percentiles and memory of calls on a GPU or a CPU, as the latency protocol wants them."""

from __future__ import annotations

import copy
import functools
import math
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import checkout  # noqa: F401  lets `worker` be imported

from worker.mmlab.common.libraries import load_library

NEEDED = {50: 11, 90: 64, 99: 662}
"""Percentile → the fewest samples that carry it: `admlops.evaluation.latency.samples_needed`, written out because the
machine with the GPU has no admlops."""
WARM_UP = 10


def measure(
    call: Callable[[Any], Any], prepare: Callable[[], Any], *, device: str, seconds: float, most: int
) -> list[float]:
    """The times [ms] of `call(prepared)`, each with inputs of its own: networks change theirs in place.

    On a GPU between two CUDA events, with nothing else under way; preparing is outside.
    """
    times: list[float] = []
    until = time.monotonic() + seconds
    warm = min(WARM_UP, max(1, most // 4))
    for number in range(warm + most):
        inputs = prepare()
        times.append(time_once(functools.partial(call, inputs), device))
        if number >= warm and time.monotonic() > until:
            break
    return times[warm:]


def time_once(call: Callable[[], Any], device: str) -> float:
    """One call's time [ms]."""
    if device == "cpu":
        began = time.perf_counter()
        call()
        return 1e3 * (time.perf_counter() - began)
    cuda = load_library("torch").cuda
    start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
    cuda.synchronize()
    start.record()
    call()
    end.record()
    cuda.synchronize()
    return float(start.elapsed_time(end))


def summarize(times_ms: Sequence[float]) -> dict[str, Any]:
    """n, mean, least and largest, and each percentile (by nearest rank) that n carries; the others are None."""
    ordered = sorted(times_ms)
    n = len(ordered)
    summary: dict[str, Any] = {"n": n, "mean_ms": None, "min_ms": None, "max_ms": None}
    if n:
        summary.update(mean_ms=math.fsum(ordered) / n, min_ms=ordered[0], max_ms=ordered[-1])
    for percentile, needed in NEEDED.items():
        rank = max(1, math.ceil(percentile / 100 * n - 1e-9))
        summary[f"p{percentile}_ms"] = ordered[rank - 1] if n >= needed else None
    return summary


def fresh(inputs: Any) -> Any:
    """A copy that a network may change, as if the sample had been prepared anew."""
    if hasattr(inputs, "clone") and hasattr(inputs, "detach"):
        return inputs.clone()
    if isinstance(inputs, dict):
        return {key: fresh(value) for key, value in inputs.items()}
    if isinstance(inputs, list):
        return [fresh(value) for value in inputs]
    return copy.deepcopy(inputs)


def reset_memory(device: str) -> None:
    """Begin a new peak."""
    if device != "cpu":
        cuda = load_library("torch").cuda
        cuda.empty_cache()
        cuda.reset_peak_memory_stats()


def read_memory(device: str) -> dict[str, float | None]:
    """Peaks since `reset_memory` [MB, 10⁶ bytes]: what tensors took, what torch's allocator held, what the card holds
    in all, with CUDA's own context, as NVML sees it."""
    if device == "cpu":
        return {"allocated_mb": None, "reserved_mb": None, "device_mb": None}
    cuda = load_library("torch").cuda
    peaks = cuda.max_memory_allocated() / 1e6, cuda.max_memory_reserved() / 1e6
    return {"allocated_mb": peaks[0], "reserved_mb": peaks[1], "device_mb": device_memory()}


def device_memory() -> float | None:
    """The memory in use on the first GPU [MB], by all processes; None where NVML does not say."""
    command = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits", "--id=0"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        return float(said.split()[0]) * 1.048576  # it counts in MiB
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        print(f"nvidia-smi says nothing of memory: {error}", file=sys.stderr)
        return None
