"""Any executor runs a job alike: policies, records and counts are the coordinator's. Any thread runs and cancels."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from tests.execution.execution_bench import Bench

from admlops.core.errors import UsageError
from admlops.core.registry import Registry
from admlops.execution.cancel import CancelToken
from admlops.execution.executor import ExecutorOptions, SceneRequest, Slot, WorkerEvent
from admlops.execution.executors import EXECUTORS
from admlops.execution.executors.local import LocalExecutor
from admlops.execution.scene_job import WorkerSpec
from admlops.execution.scene_runner import SceneRunner
from admlops.health.devices import ComputeDevice
from admlops.results.run_folder import records_digest

CALM = "01f520d911987ae09af3d33d90fef02a0834de9a97902a27122f692f5d62ab9f"
"""The digest of the stand-in's records over scenes a, b and c of four samples."""
ONE_FAILED = "84bab8d59eb1b35d6b67a756cda15f447b4692d9536a93a00d1e228e084736dc"
"""The same with sample b-1 failed, whose adapter raises."""
MACHINE = {
    "cpu": "a processor",
    "gpus": {
        "driver": "570",
        "devices": [
            {"index": index, "name": "NVIDIA H200", "memory_mb": 1e5, "uuid": f"GPU-{index}"} for index in (0, 1)
        ],
    },
}


class OneByOne:
    """An executor of an extension's own: no threads; a command is carried out when somebody asks for events."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._commands: deque[Callable[[], None]] = deque()
        self._events: deque[WorkerEvent] = deque()
        self._runners: list[SceneRunner] = []

    def slots(self) -> Sequence[Slot]:
        return (Slot(number=0, device=ComputeDevice(id="cpu", kind="cpu", name="here", id_in_worker="cpu")),)

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        self.worker, self.cancel = worker, cancel
        self._runners = [SceneRunner(worker, slot, emit=self._events.append, cancel=cancel) for slot in self.slots()]

    def start_worker(self, slot: int, *, shrink: int) -> None:
        self._commands.append(lambda: self._runners[slot].start_worker(shrink))

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        self._commands.append(lambda: self._runners[slot].run_scene(request))

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        self._commands.append(lambda: self._runners[slot].stop_worker(grace_s))

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        if not self._events and self._commands:
            self._commands.popleft()()
        return self._events.popleft() if self._events else None

    def close(self) -> Sequence[WorkerEvent]:
        for runner in self._runners:
            runner.end()
        untaken, self._events = list(self._events), deque()
        return untaken


@pytest.mark.parametrize("kind", [LocalExecutor, OneByOne])
@pytest.mark.parametrize(
    ("options", "digest"), [({}, CALM), ({"behaviour": "raise", "at": "b-1"}, ONE_FAILED)], ids=["calm", "one failed"]
)
def test_records_are_those_of_the_version_before_whatever_the_executor(
    bench: Bench, kind: type, options: dict[str, object], digest: str
) -> None:
    assert bench.go(options, executor=kind(ExecutorOptions(devices="cpu"))).state == "complete"
    assert records_digest(bench.run) == digest


def test_policies_hold_for_any_executor(bench: Bench, tmp_path: Path) -> None:
    bench.go(
        {"behaviour": "kill", "at": "b-1", "once": str(tmp_path / "once")},
        executor=OneByOne(ExecutorOptions(devices="cpu")),
    )
    assert bench.failures() == [("crash", "retry")]
    assert records_digest(bench.run) == CALM


def test_an_extension_registers_its_executor_by_an_id() -> None:
    assert EXECUTORS.ids()[0] == "local"
    own: Registry[object] = Registry("executor", {"local": "admlops.execution.executors.local:LocalExecutor"})
    own.register("one-by-one", OneByOne)
    assert own.get("one-by-one") is OneByOne
    assert own.get("local") is LocalExecutor
    with pytest.raises(UsageError, match="there is no executor 'slurm'"):
        EXECUTORS.get("slurm")


def test_two_gpus_give_two_workers_with_devices_of_their_own(bench: Bench) -> None:
    executor = LocalExecutor(ExecutorOptions(machine=MACHINE))
    assert bench.go({"pause_s": 0.05}, executor=executor).state == "complete"
    frames = {event["worker"]: event["device_name"] for event in bench.events("worker_ready")}
    assert frames == {0: "cuda:0", 1: "cuda:1"}
    assert {event["device"] for event in bench.events("worker_started")} == {"cuda:0", "cuda:1"}
    assert records_digest(bench.run) == CALM


def test_workers_are_dealt_to_the_gpus_in_turn() -> None:
    slots = LocalExecutor(ExecutorOptions(machine=MACHINE, workers=2)).slots()
    assert [slot.device.id for slot in slots] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert [slot.number for slot in slots] == [0, 1, 2, 3]


def test_a_device_that_is_not_there_is_refused_before_the_run_is_touched(bench: Bench) -> None:
    with pytest.raises(UsageError, match="there is no device 'cuda:2'"):
        bench.go(executor=LocalExecutor(ExecutorOptions(devices="cuda:2", machine=MACHINE)))
    assert bench.run.events() == []


def test_any_thread_runs_and_cancels_a_run(bench: Bench) -> None:
    token = CancelToken()
    running = threading.Event()

    class Watched(list):  # type: ignore[type-arg]
        def append(self, item: object) -> None:
            super().append(item)
            if len(self) == 4:
                running.set()

    bench.progress = Watched()
    thread = threading.Thread(target=lambda: bench.go({"pause_s": 0.1}, workers=2, cancel=token))
    thread.start()
    assert running.wait(60)
    token.cancel()
    thread.join(60)
    assert not thread.is_alive()
    assert bench.summary
    assert (bench.summary.state, bench.run.header.state) == ("cancelled", "cancelled")
    assert bench.summary.remaining > 0
    assert bench.living() == []
    bench.progress = []
    assert bench.go().state == "complete"
    assert records_digest(bench.run) == CALM
