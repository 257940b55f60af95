"""Reading ahead: how many samples a second k processes prepare, beside the network's own rate.

Each process reads, decodes and runs upstream's pipeline, as the adapter does, with one thread. What passing the arrays
to the network's process would cost on top is the copy to the device, measured by itself.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from measuring import time_once
from networks import open_network, run_each
from reporting import Report, run_stage

from worker.mmlab.common.libraries import load_library

PROCESSES = (1, 2, 4, 8, 12, 16)
SECONDS = 2.0
COPIES = 10
OWN: dict[str, Any] = {}
"""The adapter and the samples, for processes that are forked from this one."""


def work(report: Report) -> None:
    run_each(report, __file__, measure_network)


def measure_network(model: str, report: Report) -> Iterator[tuple[str, Any]]:
    """(`network_per_s`, …) from the stage before, the copy's time, and (`processes`, samples a second for each k)."""
    options = report.options
    adapter, samples = open_network(model, options, device="cpu", precision="float32")
    yield "network_per_s", network_rates(options.out / "stage_4_latency.json", model)
    OWN.update(adapter=adapter, samples=samples)
    cores = len(os.sched_getaffinity(0))
    wanted = (1, 2) if options.tiny else tuple(k for k in PROCESSES if k <= max(cores, 2))
    prepared: dict[str, float] = {}
    for k in wanted:
        if report.left_s < 2 * SECONDS + 2:
            break
        prepared[str(k)] = count_prepared(k, 0.5 if options.tiny else SECONDS)
        yield "processes", prepared
    inputs = adapter.prepare(samples[0])
    yield "input_mb", sum(tensor.numel() * tensor.element_size() for tensor in tensors_in(inputs)) / 1e6
    if options.device != "cpu":
        yield "copy_ms", copy_time(inputs, options.device)


def network_rates(path: Path, model: str) -> dict[str, float]:
    """Frames a second by precision, as stage 4 measured them; empty where it did not."""
    try:
        found = json.loads(path.read_text())["results"][model]
    except (OSError, ValueError, KeyError):
        return {}
    return {
        name: 1e3 / case["mean_ms"] for name, case in found.items() if isinstance(case, dict) and case.get("mean_ms")
    }


def count_prepared(k: int, seconds: float) -> float:
    """Samples a second that k processes prepare together; their start is not counted."""
    context = multiprocessing.get_context("fork")  # so that each has the pipeline without loading it anew
    ready, go, counts = context.Barrier(k + 1), context.Event(), context.Queue()
    children = [context.Process(target=prepare_for, args=(seconds, ready, go, counts), daemon=True) for _ in range(k)]
    for child in children:
        child.start()
    ready.wait()
    began = time.monotonic()
    go.set()
    done = sum(counts.get() for _ in children)
    passed = time.monotonic() - began
    for child in children:
        child.join()
    return float(done / passed)


def prepare_for(seconds: float, ready: Any, go: Any, counts: Any) -> None:
    """Prepare samples until the time is over, one at least; put their number into `counts`."""
    load_library("torch").set_num_threads(1)
    load_library("cv2").setNumThreads(0)
    ready.wait()
    go.wait()
    until = time.monotonic() + seconds
    for number, sample in enumerate(itertools.cycle(OWN["samples"]), start=1):
        OWN["adapter"].prepare(sample)
        if time.monotonic() >= until:
            counts.put(number)
            return


def tensors_in(value: Any) -> Iterator[Any]:
    """Every tensor in nested dictionaries and lists."""
    if hasattr(value, "element_size"):
        yield value
    elif isinstance(value, dict):
        yield from (tensor for item in value.values() for tensor in tensors_in(item))
    elif isinstance(value, (list, tuple)):
        yield from (tensor for item in value for tensor in tensors_in(item))


def copy_time(inputs: Any, device: str) -> float:
    """The least time [ms] of copying a sample's tensors to the device from pinned memory."""
    pinned = [tensor.pin_memory() for tensor in tensors_in(inputs)]

    def copy_all() -> None:
        for tensor in pinned:
            tensor.to(device, non_blocking=True)

    return min(float(time_once(copy_all, device)) for _ in range(COPIES))


if __name__ == "__main__":
    sys.exit(run_stage("stage_5_reading", work))
