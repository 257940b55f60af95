"""Doing failed samples again: whole scenes of a temporal model, else the failed samples alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from tests.execution.execution_bench import Bench, PlainSamples
from tests.execution.test_executors import CALM

from admlops.core.errors import DataError
from admlops.execution.output_check import ExpectedOutputs, Vocabulary
from admlops.results.run_folder import records_digest
from admlops.results.runs import count_failed


class Holes:
    """Samples of which the data set lacks some."""

    def __init__(self, *missing: str) -> None:
        self._missing = missing

    def read(self, token: str) -> Mapping[str, Any]:
        if token in self._missing:
            raise DataError(f"ego_pose.json has no row for {token}", hint="unpack it again")
        return PlainSamples().read(token)


def lines(bench: Bench, scene: str) -> list[bytes]:
    return (bench.path / "records" / f"{scene}.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("temporal", [True, False])
def test_only_what_failed_is_done_again(bench: Bench, temporal: bool) -> None:
    assert bench.go({"behaviour": "raise", "at": ["b-1", "b-2"]}).failed == 2
    assert count_failed(bench.run) == 2
    before = {scene: lines(bench, scene) for scene in bench.shape}
    bench.progress = []
    summary = bench.go(retry_failed=True, temporal=temporal)
    assert (summary.state, summary.ok, summary.failed) == ("complete", 12, 0)
    assert sum(event.samples for event in bench.progress) == 12
    after = {scene: lines(bench, scene) for scene in bench.shape}
    assert (after["a"], after["c"]) == (before["a"], before["c"])
    done = {event.sample_token for event in bench.progress if event.kind == "sample"}
    if temporal:
        assert done == {"b-0", "b-1", "b-2", "b-3"}
        assert records_digest(bench.run) == CALM
    else:
        assert done == {"b-1", "b-2"}
        assert [after["b"][index] for index in (0, 3)] == [before["b"][index] for index in (0, 3)]
    assert count_failed(bench.run) == 0
    tokens = [json.loads(line)["metadata"]["sample_token"] for line in after["b"]]
    assert tokens == ["b-0", "b-1", "b-2", "b-3"]


def test_a_complete_run_says_its_first_failure_when_nothing_is_left_to_do(bench: Bench) -> None:
    bench.go({"behaviour": "raise", "at": "b-1"})
    summary = bench.go()
    assert (summary.state, summary.failed, summary.failures) == ("complete", 1, ())
    assert summary.first_failed
    assert summary.first_failed.kind == "model"
    started = len(bench.events("worker_started"))
    bench.go({"behaviour": "raise", "at": "b-1"}, retry_failed=True)
    assert len(bench.events("worker_started")) == started + 1


def test_a_sample_that_the_data_set_lacks_fails_alone(bench: Bench) -> None:
    samples = Holes("a-0", "b-1", "b-2", "c-3")
    summary = bench.go(samples=samples)
    assert (summary.state, summary.ok, summary.failed) == ("complete", 8, 4)
    failed = [record.metadata.sample_token for record in bench.records() if record.metadata.failure]
    assert failed == ["a-0", "b-1", "b-2", "c-3"]
    assert bench.tokens() == bench.all_tokens()
    assert bench.failures() == [("data", "skip_sample")] * 4
    assert bench.go(samples=PlainSamples(), retry_failed=True).failed == 0
    assert records_digest(bench.run) == CALM


def test_a_scene_that_the_data_set_lacks_needs_no_worker(bench: Bench) -> None:
    bench.shape = {"a": 2}
    summary = bench.go(samples=Holes("a-0", "a-1"))
    assert (summary.state, summary.failed) == ("complete", 2)
    assert bench.events("worker_started") == []


def boxes_of(name: str) -> Vocabulary:
    return Vocabulary(known=frozenset({name}), names_in=lambda boxes: (box.class_name for box in boxes))


@pytest.mark.parametrize(
    ("expected", "words"),
    [
        ({"classes": {"detections_3d": boxes_of("truck")}}, "detections_3d[0] has the class 'car'"),
        ({"required": frozenset({"detections_3d", "map_elements"})}, "the outputs lack map_elements"),
        ({"required": frozenset(), "allowed": frozenset({"plan"})}, "the outputs hold detections_3d"),
    ],
)
def test_records_are_held_against_the_model_when_they_are_written(
    bench: Bench, expected: dict[str, Any], words: str
) -> None:
    keys = frozenset({"detections_3d", "map_elements"})
    rules = ExpectedOutputs(**{"required": frozenset({"detections_3d"}), "allowed": keys, **expected})
    summary = bench.go(expected=rules)
    assert summary.state == "failed"
    assert summary.stopped_by
    assert summary.stopped_by.kind == "model"
    assert words in summary.stopped_by.message
    assert summary.dropped == 1, "four failed samples are a whole scene, the fifth is in the next one"
    assert all(record.metadata.failure and not record.detections_3d for record in bench.records())


def test_what_the_model_says_of_itself_is_taken(bench: Bench) -> None:
    keys = frozenset({"detections_3d"})
    bench.go(expected=ExpectedOutputs(required=keys, allowed=keys, classes={"detections_3d": boxes_of("car")}))
    assert records_digest(bench.run) == CALM
