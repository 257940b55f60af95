"""Latency and memory of each network: one sample at a time, in single precision, TF32 and the authors' precision.

Times are of the network's call alone, between CUDA events, with inputs of its own each time. Then, where time is left,
the same with the call captured as a CUDA graph and with the picture backbone compiled by `torch.compile`; where either
does not work the reason is kept.
"""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from typing import Any

from measuring import fresh, measure, read_memory, reset_memory, summarize
from networks import in_precision, open_network, run_each
from reporting import Report, Skip, explain, run_stage

from worker.mmlab.common.libraries import load_library

MOST = 700
"""Repetitions: what p99 needs, and some."""
COMPILE_LEAST_S = 40.0
PRECISIONS = ("float32", "tf32", "authors")
SHARE = 0.15
"""Of a network's time for the calls of one precision; the rest is for loading it, graphs and compiling."""


def work(report: Report) -> None:
    run_each(report, __file__, measure_network)


def measure_network(model: str, report: Report) -> Iterator[tuple[str, Any]]:
    """(precision, times and memory), then (`cuda_graph` and `compile`, the same or why not)."""
    options = report.options
    cases = ("float32",) if options.device == "cpu" else PRECISIONS
    adapter, samples = open_network(model, options, device=options.device, precision="float32")
    for case in cases:
        try:
            adapter = in_precision(case, adapter, model, options)
            yield case, measure_case(adapter, samples, report, len(cases))
        except Exception as error:  # noqa: BLE001  one precision that fails leaves the others to be measured
            yield case, {"failed": explain(error)}
    yield "compile", attempt(compile_backbone, adapter, samples, report)
    # Last: a capture that fails may leave CUDA unusable.
    yield "cuda_graph", attempt(replay_graph, adapter, samples, report)


def measure_case(adapter: Any, samples: list[dict[str, Any]], report: Report, cases: int) -> dict[str, Any]:
    """Times, memory and what is in force. The samples of the scene come in turn, prepared once and copied each time."""
    options = report.options
    most = 2 if options.tiny else MOST
    reset_memory(options.device)
    adapter.start_scene(samples[0]["scene"])
    began = time.monotonic()
    prepared = [adapter.prepare(sample) for sample in samples]
    preparing_s = (time.monotonic() - began) / len(samples)
    turn = itertools.cycle(prepared)
    seconds = max(2.0, SHARE * 3 / cases * options.limit_s)
    times = measure(adapter.forward, lambda: fresh(next(turn)), device=options.device, seconds=seconds, most=most)
    return {
        "in_force": adapter.precision(),
        **summarize(times),
        "prepare_ms": 1e3 * preparing_s,
        "memory": read_memory(options.device),
    }


def attempt(way: Any, adapter: Any, samples: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """What a way of making the network faster gives, or why it does not work here."""
    try:
        found: dict[str, Any] = way(adapter, samples, report)
    except Skip as reason:
        return {"skipped": str(reason)}
    except Exception as error:  # noqa: BLE001  whatever a compiler raises is the result
        return {"failed": explain(error)}
    return found


def compile_backbone(adapter: Any, samples: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """The picture backbone through `torch.compile`; the rest as it is."""
    torch = load_library("torch")
    if report.options.device == "cpu":
        raise Skip("torch.compile is measured on a GPU alone")
    if report.left_s < COMPILE_LEAST_S:
        raise Skip(f"{report.left_s:.0f} s are left, and compiling needs {COMPILE_LEAST_S:.0f} s")
    plain = adapter._model.img_backbone
    adapter._model.img_backbone = torch.compile(plain)
    try:
        began = time.monotonic()
        adapter.forward(adapter.prepare(samples[0]))
        adapter.synchronize()
        compiling_s = time.monotonic() - began
        return {"compiling_s": compiling_s, **measure_case(adapter, samples, report, len(PRECISIONS))}
    finally:
        adapter._model.img_backbone = plain


def replay_graph(adapter: Any, samples: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """The whole call captured once and replayed: as fast as the card is without Python."""
    if report.options.device == "cpu":
        raise Skip("CUDA graphs are a GPU's")
    torch = load_library("torch")
    inputs = adapter.prepare(samples[0])
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            adapter.forward(fresh(inputs))
    torch.cuda.current_stream().wait_stream(stream)
    graph, static = torch.cuda.CUDAGraph(), fresh(inputs)
    with torch.cuda.graph(graph):
        adapter.forward(static)
    times = measure(lambda _: graph.replay(), lambda: None, device=report.options.device, seconds=5.0, most=MOST)
    return {**summarize(times), "memory": read_memory(report.options.device)}


if __name__ == "__main__":
    sys.exit(run_stage("stage_4_latency", work))
