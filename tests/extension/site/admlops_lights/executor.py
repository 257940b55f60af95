"""The executor: one worker, without threads; a command is carried out when somebody asks for events."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from admlops.execution.cancel import CancelToken
from admlops.execution.executor import ExecutorOptions, SceneRequest, Slot, WorkerEvent
from admlops.execution.scene_job import WorkerSpec
from admlops.execution.scene_runner import SceneRunner
from admlops.health.devices import ComputeDevice


class InTurn:
    """Runs one worker on the CPU."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._commands: deque[Callable[[], None]] = deque()
        self._events: deque[WorkerEvent] = deque()
        self._runners: list[SceneRunner] = []

    def slots(self) -> Sequence[Slot]:
        return (Slot(number=0, device=ComputeDevice(id="cpu", kind="cpu", name="one", id_in_worker="cpu")),)

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
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
