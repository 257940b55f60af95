"""Several samples at once, with real workers: the same records as one by one, and a failure costs its own sample."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET
from tests.execution.execution_bench import PATIENT, Bench, make_header
from tests.interpreters import PYTHON38

from admlops.execution.batches import Batch
from admlops.execution.deadlines import Deadlines
from admlops.results.record import Record
from admlops.results.run_folder import RunFolder, records_digest

EIGHT, AUTO = Batch(most=8), Batch(most=64, auto=True)


@pytest.fixture
def bench(bench: Bench) -> Bench:
    """One scene of 20 samples and one of 3."""
    bench.shape = {"a": 20, "b": 3}
    return bench


def go(bench: Bench, batch: Batch | None, options: Mapping[str, Any] | None = None, **more: Any) -> dict[str, Record]:
    """The records by token, after a run that came to its end."""
    summary = bench.go(options, adapter="batching.py", batch=batch, temporal=False, **more)
    assert summary.state == "complete"
    assert bench.tokens() == bench.all_tokens()
    return {record.metadata.sample_token: record for record in bench.records()}


def sizes(records: Mapping[str, Record]) -> list[object]:
    """What each was in the works with; UNSET of a run that took one at a time, and has times."""
    metadata = [record.metadata for record in records.values() if record.metadata.status == "ok"]
    assert all((one.batch is UNSET) is (one.inference_time is not None) for one in metadata)
    return [one.batch if one.batch is UNSET else one.batch.size for one in metadata]


def failed(records: Mapping[str, Record]) -> dict[str, str]:
    failures = {token: record.metadata.failure for token, record in records.items()}
    return {token: failure.kind for token, failure in failures.items() if failure is not UNSET}


def test_batches_give_the_records_that_single_samples_give(bench: Bench, tmp_path: Path) -> None:
    alone = Bench(tmp_path / "alone", bench.shape)
    alone.folder.mkdir()
    assert set(sizes(go(alone, None))) == {UNSET}
    assert sizes(go(bench, EIGHT)) == [8] * 16 + [4] * 4 + [3] * 3
    assert records_digest(bench.run) == records_digest(alone.run)


@pytest.mark.skipif(PYTHON38 is None, reason="needs a python3.8 on PATH or in ~/.pyenv/versions")
def test_batches_under_python_38(bench: Bench) -> None:
    assert PYTHON38 is not None
    assert sizes(go(bench, AUTO, {"fits": 4, "call_s": 0.02}, python=Path(PYTHON38)))[-3:] == [3] * 3


def test_doubling_ends_where_it_does_not_pay(bench: Bench) -> None:
    """Two samples take four times as long as one."""
    assert sizes(go(bench, AUTO, {"pair_s": 0.02})) == [1, 1, 2, 2, 2, 2, *[1] * 17]
    assert "batches of 1: " in bench.log()


def test_doubling_goes_on_while_it_pays(bench: Bench) -> None:
    """A call costs 50 ms, however large the batch."""
    assert sizes(go(bench, AUTO, {"call_s": 0.05})) == [1, 1, *[2] * 4, *[4] * 8, *[6] * 6, *[3] * 3]


def test_doubling_ends_at_the_memory_of_the_gpu(bench: Bench) -> None:
    found = sizes(go(bench, AUTO, {"call_s": 0.05, "fits": 3}))
    assert found == [1, 1, *[2] * 18, 2, 2, 1]
    assert "4 ran out of memory" in bench.log()
    assert bench.failures() == []


@pytest.mark.parametrize("memory", ["fits", "fits_host"])
def test_a_batch_that_runs_out_of_memory_is_halved(bench: Bench, memory: str) -> None:
    """8, then 4, then 2; what was found holds for the scenes to come. The worker stays."""
    records = go(bench, EIGHT, {memory: 2})
    assert sizes(records) == [2] * 22 + [1]
    assert len(bench.events("worker_started")) == 1
    assert all(record.metadata.shrink == 0 for record in records.values())


def test_then_the_input_is_made_smaller_and_the_record_says_so(bench: Bench) -> None:
    """Nothing fits at first, not even one sample; with a smaller input one does."""
    bench.shape = {"a": 4}
    records = go(bench, Batch(most=4), {"fits_at": 1})
    assert failed(records) == {}
    assert bench.failures() == [("cuda_oom", "retry")]
    assert [record.metadata.shrink for record in records.values()] == [1] * 4
    assert sizes(records) == [4] * 4


def test_a_sample_that_cannot_be_read_costs_itself(bench: Bench) -> None:
    records = go(bench, EIGHT, {"unreadable": ["a-2"], "wrong": ["a-9"], "unconvertible": ["b-1"]})
    assert failed(records) == {"a-2": "data", "a-9": "model", "b-1": "model"}
    assert sizes(records) == [7] * 7 + [1] * 7 + [4] * 4 + [3] * 2
    assert len(bench.events("worker_started")) == 1


def test_results_that_are_too_few_are_not_given_to_the_wrong_samples(bench: Bench, tmp_path: Path) -> None:
    alone = Bench(tmp_path / "alone", bench.shape)
    alone.folder.mkdir()
    go(alone, None)
    assert set(sizes(go(bench, EIGHT, {"short": True}))) == {1}
    assert records_digest(bench.run) == records_digest(alone.run)
    assert "7 results for 8 samples" in bench.log()


def test_a_killed_worker_costs_no_companion(bench: Bench) -> None:
    """The scene is done again one by one, and then again once, as the class of the failure has it."""
    records = go(bench, EIGHT, {"deadly": ["a-10"]})
    assert bench.failures() == [("crash", "retry"), ("crash", "retry"), ("crash", "skip_scene")]
    lost = failed(records)
    assert [f"a-{n}" not in lost for n in range(20)] == [True] * 10 + [False] * 10
    assert sizes(records) == [1] * 10 + [3] * 3


def test_a_broken_context_is_left_and_the_samples_done_one_by_one(bench: Bench) -> None:
    records = go(bench, EIGHT, {"poisoned": ["a-10"]})
    assert bench.failures() == [("poisoned", "retry")]
    assert failed(records) == {}
    assert sizes(records) == [1] * 20 + [3] * 3


def test_a_worker_that_the_kernel_ended_tries_half_as_many() -> None:
    from admlops.execution.failures import WorkerFailure

    killed = WorkerFailure(kind="host_oom", message="", batch=8)
    assert AUTO.after(killed) == Batch(most=4, auto=True)
    assert EIGHT.after(WorkerFailure(kind="hang", message="", batch=8)) == Batch(most=1)
    assert EIGHT.after(WorkerFailure(kind="host_oom", message="", batch=1)) is None
    assert EIGHT.after(WorkerFailure(kind="cuda_oom", message="", batch=8)) is None


def test_a_batch_has_the_time_of_all_its_samples(bench: Bench) -> None:
    """0.3 s a sample, 1 s a call: eight at once take 2.4 s, which is no hang."""
    bench.shape = {"a": 8}
    limits = Deadlines(start_s=60, call_s=1.0, silence_s=60, total_s=300, extends_busy_calls=False)
    assert sizes(go(bench, EIGHT, {"sample_s": 0.3}, deadlines=limits)) == [8] * 8


def test_a_batch_that_hangs_is_done_again_one_by_one(bench: Bench) -> None:
    bench.shape = {"a": 3}
    limits = Deadlines(start_s=60, call_s=0.4, silence_s=60, total_s=300, extends_busy_calls=False)
    assert sizes(go(bench, EIGHT, {"hangs": 3}, deadlines=limits)) == [1] * 3
    assert bench.failures() == [("hang", "retry")]


def test_an_adapter_that_takes_one_at_a_time_is_given_one(bench: Bench) -> None:
    bench.shape = {"a": 3}
    assert bench.go(batch=EIGHT).state == "complete"
    assert set(sizes({record.metadata.sample_token: record for record in bench.records()})) == {UNSET}


def test_a_header_states_its_batch(tmp_path: Path) -> None:
    path = tmp_path / "run"
    header = make_header({"a": 1}, settings={"device": "cpu", "batch": "auto"})
    assert RunFolder.create(path, header).header.settings["batch"] == "auto"
    assert PATIENT.call_s == 60
