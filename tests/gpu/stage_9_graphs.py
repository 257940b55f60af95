"""`--graphs` as a run has it: each network with parts of it as CUDA graphs, against the same network without.

The parts are those that the adapter names, the mechanism is `worker/graphs.py`. Times are of the network's call alone,
as in stage 4; `ratio` is how many times as fast the median is with graphs. Outputs of the heads are compared on the
same sample. On a CPU graphs are simulated (`simulated_graphs.py`): that tries the stage, and its times say nothing.
"""

from __future__ import annotations

import itertools
import statistics
import sys
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from measuring import fresh, measure, read_memory, reset_memory, summarize
from networks import compare_arrays, head_arrays, open_network, run_each
from reporting import Report, run_stage

from worker.adapter import Settings
from worker.graphs import Graphs, record_graphs

DEFAULT = ("StreamPETR", "MapTR", "VAD")
MOST = 200
SHARE = 0.2
"""Of a network's time for the calls without graphs, and again with them; the rest is for loading it."""


def work(report: Report) -> None:
    if not report.options.models:
        report.options = replace(report.options, models=DEFAULT)
    run_each(report, __file__, measure_network)


def measure_network(model: str, report: Report) -> Iterator[tuple[str, Any]]:
    """(`eager`, times and memory), (`graphs`, the same), then how the parts ran, the outputs, and the ratio."""
    options = report.options
    adapter, samples = open_network(model, options, device=options.device, precision="authors")
    first = head_arrays(adapter, samples[0])
    eager = measure_calls(adapter, samples, report)
    yield "eager", eager
    graphs = prepare(adapter, options.device)
    adapter.start_scene(samples[0]["scene"])
    adapter.forward(adapter.prepare(samples[0]))
    began = graphs.finish()
    adapter.start_scene(samples[0]["scene"])
    yield "outputs", compare_arrays(first, head_arrays(adapter, samples[0]))
    replayed = measure_calls(adapter, samples, report)
    yield "graphs", replayed
    yield "parts", graphs.finish()["graphs"]
    yield "refused", began.get("graphs_refused", {})
    yield "ratio", compare_medians(eager, replayed)


def prepare(adapter: Any, device: str) -> Graphs:
    """The network's parts, ready to be recorded on the device, or on a CPU that pretends to be one."""
    if device == "cpu":
        from simulated_graphs import install

        install()
        device = "cuda:0"
    return record_graphs(adapter, Settings(device=device))


def measure_calls(adapter: Any, samples: list[dict[str, Any]], report: Report) -> dict[str, Any]:
    """Times and memory of the network's call; the samples of the scene come in turn, with inputs of their own."""
    options = report.options
    reset_memory(options.device)
    adapter.start_scene(samples[0]["scene"])
    turn = itertools.cycle([adapter.prepare(sample) for sample in samples])
    seconds = max(2.0, SHARE * options.limit_s)
    most = 1 if options.tiny else MOST
    times = measure(adapter.forward, lambda: fresh(next(turn)), device=options.device, seconds=seconds, most=most)
    return {
        "in_force": adapter.precision(),
        **summarize(times),
        "median_ms": statistics.median(times),
        "memory": read_memory(options.device),
    }


def compare_medians(eager: dict[str, Any], replayed: dict[str, Any]) -> float:
    """How many times as fast the median call is with graphs; also said, for whoever reads the log."""
    ratio = float(eager["median_ms"] / replayed["median_ms"])
    text = "{:.2f} ms without graphs, {:.2f} ms with them: {:.2f} times as fast"
    print(text.format(eager["median_ms"], replayed["median_ms"], ratio), flush=True)
    return ratio


if __name__ == "__main__":
    sys.exit(run_stage("stage_9_graphs", work))
