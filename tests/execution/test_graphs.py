"""`--graphs` through real workers: what runs as a graph stands in each record, and the run says why a part does not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.execution.execution_bench import Bench
from tests.execution.test_executors import MACHINE

from admlops.evaluation.latency.summary import label_graphs, summarize
from admlops.execution.executor import ExecutorOptions
from admlops.execution.executors.local import LocalExecutor
from admlops.results.refused_graphs import list_refused_graphs
from admlops.results.run_folder import records_digest


def go(folder: Path, options: dict[str, Any] | None = None, *, graphs: bool = True, device: str = "cuda:0") -> Bench:
    folder.mkdir()
    bench = Bench(folder)
    bench.shape = {"a": 3, "b": 2}
    settings = {"options": options or {}, **({"graphs": True} if graphs else {})}
    runner = LocalExecutor(ExecutorOptions(devices=device, machine=MACHINE))
    bench.go(adapter="graphed.py", executor=runner, settings=settings)
    return bench


def states(bench: Bench) -> list[str]:
    return [label_graphs(one.metadata.graphs) if one.metadata.graphs else "" for one in bench.records()]


def test_a_run_with_graphs_gives_the_same_records_and_says_what_was_replayed(tmp_path: Path) -> None:
    plain, graphed = go(tmp_path / "plain", graphs=False), go(tmp_path / "graphed")
    assert states(plain) == [""] * 5
    assert states(graphed) == ["backbone recorded, neck recorded", *["backbone replayed, neck replayed"] * 4]
    assert [one.detections_2d for one in graphed.records()] == [one.detections_2d for one in plain.records()]
    assert records_digest(graphed.run) == records_digest(plain.run), "how it ran does not count in the digest"
    assert list_refused_graphs(graphed.run) == {}
    assert summarize(one.metadata for one in graphed.records()).graphs == "backbone replayed, neck replayed"
    assert "graphs" not in summarize(one.metadata for one in plain.records()).to_json()


def test_a_part_that_cannot_be_recorded_goes_on_and_is_named_with_its_reason(tmp_path: Path) -> None:
    bench = go(tmp_path / "run", {"looks": "neck"})
    assert states(bench) == ["backbone recorded, neck recorded", *["backbone replayed, neck eager"] * 4]
    assert [one["reasons"] for one in bench.events("graphs_refused")] == [list_refused_graphs(bench.run)]
    assert "operation not permitted when stream is capturing" in list_refused_graphs(bench.run)["neck"]
    assert bench.failures() == []


def test_a_sample_that_fails_leaves_nothing_to_record(tmp_path: Path) -> None:
    bench = go(tmp_path / "run", {"wrong": "a-0"})
    assert states(bench) == ["", "backbone recorded, neck recorded", *["backbone replayed, neck replayed"] * 3]
    latency = summarize(one.metadata for one in bench.records())
    assert (latency.inference.n, latency.first_inference.n) == (2, 2), "the recorded sample stands with first frames"


def test_graphs_on_a_cpu_stop_the_run_and_name_the_option(tmp_path: Path) -> None:
    bench = go(tmp_path / "run", device="cpu")
    assert bench.failures() == [("model", "stop")]
    assert bench.summary is not None
    assert bench.summary.stopped_by is not None
    assert "StandIn runs on cpu, which has no CUDA graphs: leave --graphs out" in bench.summary.stopped_by.message
