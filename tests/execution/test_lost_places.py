"""Places for workers that go away and come: their scenes are done elsewhere, once each, and a run without any ends."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tests.execution.execution_bench import Bench
from tests.execution.test_executors import CALM, OneByOne

from admlops.execution.executor import ExecutorOptions, Slot, SlotJoined, SlotLost, WorkerEvent
from admlops.execution.scene_runner import SceneRunner
from admlops.health.devices import ComputeDevice
from admlops.results.run_folder import records_digest

CPU = ComputeDevice(id="cpu", kind="cpu", name="a processor", id_in_worker="cpu")


class Nodes(OneByOne):
    """Real workers on so many stand-in nodes, one of which goes away when `is_due` says so of an event.

    Events that it had given by then come late, after its loss.
    """

    def __init__(self, count: int, is_due: Callable[[int, WorkerEvent], bool]) -> None:
        super().__init__(ExecutorOptions(devices="cpu"))
        self._nodes = [Slot(number=number, device=CPU, node=f"node-{number}") for number in range(count)]
        self._is_due = is_due
        self.lost: list[int] = []

    def slots(self) -> Sequence[Slot]:
        return tuple(self._nodes)

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        event = super().next_event(timeout_s)
        if event is None or isinstance(event, SlotJoined | SlotLost) or event.slot in self.lost:
            return event
        if not self._is_due(event.slot, event):
            return event
        self.lost.append(event.slot)
        self._events.appendleft(event)
        return SlotLost(slot=event.slot, reason=f"node-{event.slot} does not answer", hint="start it again")


class Joining(Nodes):
    """A node that comes back as a new place when the run has none."""

    join_wait_s = 60.0

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        event = super().next_event(timeout_s)
        if event is not None or len(self._nodes) > len(self.lost):
            return event
        slot = Slot(number=len(self._nodes), device=CPU, node="node-0")
        self._nodes.append(slot)
        self._runners.append(SceneRunner(self.worker, slot, emit=self._events.append, cancel=self.cancel))
        return SlotJoined(slot=slot)


def losing(at: str, *, times: int = 1) -> Callable[[int, WorkerEvent], bool]:
    """Lose the node whose worker answers the sample `at`, so many times."""
    left = [times]

    def is_due(slot: int, event: WorkerEvent) -> bool:
        answer = getattr(event, "answer", None)
        due = answer is not None and answer.sample_token == at and left[0] > 0
        left[0] -= due
        return due

    return is_due


def test_the_scene_of_a_lost_place_is_done_elsewhere_and_once(bench: Bench) -> None:
    executor = Nodes(3, losing("b-1"))
    summary = bench.go({}, executor=executor)
    assert (summary.state, summary.ok, summary.failed, summary.retries) == ("complete", 12, 0, 0)
    assert records_digest(bench.run) == CALM
    (place,) = summary.lost
    assert (place.node, place.failure.detail) == (f"node-{place.workers[0]}", f"{place.node} does not answer")
    (event,) = bench.events("device_lost")
    assert (tuple(event["workers"]), event["hint"]) == (place.workers, "start it again")
    assert [event["scene"] for event in bench.events("scene")].count("b") == 1


def test_a_scene_that_takes_its_places_down_is_given_up(bench: Bench) -> None:
    summary = bench.go({}, executor=Nodes(6, losing("b-1", times=9)))
    assert (summary.state, summary.ok, summary.failed, len(summary.lost)) == ("complete", 9, 3, 4)
    failures = {record.metadata.failure.kind for record in bench.records() if record.metadata.failure}
    assert failures == {"lost"}


def test_a_run_that_loses_its_last_place_fails_and_is_resumed(bench: Bench) -> None:
    summary = bench.go({}, executor=Nodes(1, losing("b-1")))
    assert (summary.state, summary.ok, summary.remaining) == ("failed", 4, 8)
    assert summary.stopped_by is not None
    assert "node-0 does not answer" in summary.stopped_by.message
    assert summary.stopped_by.hint == "start it again"
    assert bench.go({}).state == "complete"
    assert records_digest(bench.run) == CALM


def test_a_run_without_a_place_waits_for_one_that_joins(bench: Bench) -> None:
    summary = bench.go({}, executor=Joining(1, losing("b-1")))
    assert (summary.state, summary.ok, len(summary.lost)) == ("complete", 12, 1)
    assert [event["worker"] for event in bench.events("slot_joined")] == [1]
    assert records_digest(bench.run) == CALM


def test_a_run_waits_so_long_and_no_longer_for_a_place(bench: Bench) -> None:
    class Alone(Nodes):
        join_wait_s = 0.05

    summary = bench.go({}, executor=Alone(1, losing("b-1")))
    assert summary.stopped_by is not None
    assert summary.stopped_by.message.endswith("and none joined within 0.05 s")
    assert bench.run.header.state == "failed"
