"""A card that fails is taken out of a run and its scenes are done on others; a scene that fails costs no card.

The workers are real processes; the cards are stand-ins, and a worker fails on one of them.
"""

from __future__ import annotations

import sys
from typing import Any

import pytest
from tests.execution.execution_bench import Bench
from tests.execution.test_executors import CALM
from tests.health.fake_nvml import Card, FakeNvml

from admlops.execution.executor import ExecutorOptions
from admlops.execution.executors.local import LocalExecutor
from admlops.health.devices import VISIBLE, choose_devices
from admlops.health.gpus import find_loss
from admlops.results.run_folder import records_digest

EVERY = [f"{scene}-{index}" for scene in "abc" for index in range(4)]


def cards(count: int) -> dict[str, Any]:
    devices = [
        {"index": index, "name": "NVIDIA H200", "memory_mb": 1e5, "uuid": f"GPU-{index}abc"} for index in range(count)
    ]
    return {"cpu": "a processor", "gpus": {"driver": "570", "devices": devices}}


def on_cards(count: int, workers: int = 1) -> LocalExecutor:
    return LocalExecutor(ExecutorOptions(machine=cards(count), workers=workers))


def lost_devices(bench: Bench) -> list[tuple[str, str, list[int]]]:
    """(device, class, workers) of every device that was taken out, as the run's folder has it."""
    return [(event["device"], event["class"], event["workers"]) for event in bench.events("device_lost")]


def test_a_card_that_the_build_has_no_code_for_is_taken_out(bench: Bench) -> None:
    summary = bench.go({"behaviour": "arch", "at": "load", "on": "cuda:1"}, executor=on_cards(2, workers=2))
    assert (summary.state, summary.ok, summary.failed, summary.retries) == ("complete", 12, 0, 0)
    assert records_digest(bench.run) == CALM
    assert lost_devices(bench) == [("cuda:1", "arch", [1, 3])]
    (place,) = summary.lost
    assert (place.device, place.device_name, place.node) == ("cuda:1", "NVIDIA H200", "")
    assert "no kernel image" in place.failure.reason
    assert "takes the variant with kernels for this card" in place.failure.hint
    assert {action for _, action in bench.failures()} == {"elsewhere"}


def test_only_when_no_card_is_left_the_run_stops(bench: Bench) -> None:
    summary = bench.go({"behaviour": "arch", "at": "load"}, executor=on_cards(2))
    assert (summary.state, summary.ok, len(summary.lost)) == ("failed", 0, 1)
    assert summary.stopped_by is not None
    assert summary.stopped_by.kind == "arch"
    assert [action for _, action in bench.failures()] == ["elsewhere", "stop"]
    assert bench.go().state == "complete"


def test_a_card_that_poisons_scenes_which_others_do_is_taken_out(bench: Bench) -> None:
    bench.shape = dict.fromkeys("abcdef", 4)
    every = [f"{scene}-0" for scene in bench.shape]
    summary = bench.go({"behaviour": "poisoned", "at": every, "on": "cuda:1", "pause_s": 0.1}, executor=on_cards(2))
    assert (summary.state, summary.ok, summary.failed) == ("complete", 24, 0)
    assert lost_devices(bench) == [("cuda:1", "poisoned", [1])]
    assert bench.failures() == [("poisoned", "retry"), ("poisoned", "elsewhere")]


def test_a_scene_that_poisons_every_card_costs_none(bench: Bench) -> None:
    summary = bench.go({"behaviour": "poisoned", "at": "b-0"}, executor=on_cards(2))
    assert (summary.state, summary.ok, summary.failed) == ("complete", 8, 4)
    assert bench.failures() == [("poisoned", "retry"), ("poisoned", "skip_scene")]
    tried_on = [event["worker"] for event in bench.events("failure")]
    assert sorted(tried_on) == [0, 1]
    assert lost_devices(bench) == []


def test_a_card_that_falls_off_the_bus_is_taken_out(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    driver = FakeNvml(cards=[Card(), Card(answers=False)])
    monkeypatch.setitem(sys.modules, "pynvml", driver)
    summary = bench.go({"behaviour": "kill", "at": EVERY, "on": "cuda:1"}, executor=on_cards(2))
    assert (summary.state, summary.ok, summary.failed) == ("complete", 12, 0)
    assert records_digest(bench.run) == CALM
    assert lost_devices(bench) == [("cuda:1", "lost", [1])]
    (event,) = bench.events("device_lost")
    assert event["reason"].startswith("the driver no longer has GPU-1abc (GPU 1: GPU is lost)")
    assert "killed by SIGKILL" in event["reason"]


@pytest.mark.full
@pytest.mark.parametrize("behaviour", ["kill", "poisoned", "cuda_oom"])
def test_a_card_on_which_no_model_loads_is_taken_out(bench: Bench, behaviour: str) -> None:
    bench.shape = dict.fromkeys("abcdefgh", 4)
    options = {"behaviour": behaviour, "at": "load", "on": "cuda:0", "pause_s": 0.3}
    summary = bench.go(options, executor=on_cards(3))
    assert (summary.state, summary.ok, summary.failed) == ("complete", 32, 0)
    assert [device for device, _, _ in lost_devices(bench)] == ["cuda:0"]
    assert {record.metadata.shrink for record in bench.records()} == {0}


@pytest.mark.full
def test_the_last_card_does_the_scene_that_failed_on_it(bench: Bench) -> None:
    options = {"behaviour": "kill", "at": "b-1", "once": str(bench.folder / "once")}
    summary = bench.go(options, executor=on_cards(1))
    assert (summary.state, summary.ok, summary.retries, summary.lost) == ("complete", 12, 1, ())


def test_a_new_process_sees_the_cards_that_are_left() -> None:
    devices = choose_devices("all", cards(3))
    left = [device.without({"GPU-0abc"}) for device in devices]
    assert left[0] == devices[0]
    assert [(one.id, one.id_in_worker) for one in left[1:]] == [("cuda:1", "cuda:0"), ("cuda:2", "cuda:1")]
    assert {one.variables[VISIBLE] for one in left[1:]} == {"GPU-1abc,GPU-2abc"}
    assert devices[2].without(set()) == devices[2]


@pytest.mark.parametrize(
    ("driver", "said"),
    [
        (FakeNvml(), None),
        (FakeNvml(cards=[Card(), Card()]), None),
        (FakeNvml(cards=[Card(), Card(answers=False)]), "GPU 1: GPU is lost"),
        (FakeNvml(cards=[Card()]), "it is not in the driver's list"),
        (FakeNvml(fails="Unknown Error"), "the NVIDIA driver fails: Unknown Error"),
    ],
)
def test_the_driver_tells_whether_a_card_is_there(driver: FakeNvml, said: str | None) -> None:
    found = find_loss("GPU-1abc", driver)
    assert found is None if said is None else found is not None and said in found
