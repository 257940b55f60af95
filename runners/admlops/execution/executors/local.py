"""The local executor: the workers of this machine, a number of them on each GPU, or on its CPU."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial

from admlops.execution.cancel import CancelToken
from admlops.execution.executor import ExecutorOptions, SceneRequest, Slot, WorkerEvent
from admlops.execution.scene_job import WorkerSpec
from admlops.execution.scene_runner import SceneRunner
from admlops.health.devices import choose_devices
from admlops.health.machine import describe_machine

EVENTS_WAITING = 256
"""How far workers may be ahead of the coordinator: their results wait in memory."""
DRAIN_S = 0.05


class LocalExecutor:
    """One thread per slot makes its worker and lives as long: the kernel ends a worker with its thread."""

    def __init__(self, options: ExecutorOptions) -> None:
        self._options = options
        self._slots: tuple[Slot, ...] | None = None
        self._lines: dict[int, _SlotThread] = {}
        self._events: queue.Queue[WorkerEvent] = queue.Queue(maxsize=EVENTS_WAITING)

    def slots(self) -> Sequence[Slot]:
        """Return `workers` slots per device, dealt round-robin: with few scenes every device still gets one."""
        if self._slots is None:
            devices = choose_devices(self._options.devices, self._options.machine or describe_machine())
            dealt = [device for _ in range(self._options.workers) for device in devices]
            self._slots = tuple(Slot(number=number, device=device) for number, device in enumerate(dealt))
        return self._slots

    def start(self, worker: WorkerSpec, cancel: CancelToken) -> None:
        """Make a thread for each slot; it waits for commands."""
        lost_gpus: set[str] = set()
        for slot in self.slots():
            runner = SceneRunner(worker, slot, emit=self._events.put, cancel=cancel, lost_gpus=lost_gpus)
            self._lines[slot.number] = _SlotThread(runner)

    def start_worker(self, slot: int, *, shrink: int) -> None:
        """Start a worker in the slot's thread."""
        self._lines[slot].add(partial(self._lines[slot].runner.start_worker, shrink))

    def run_scene(self, slot: int, request: SceneRequest) -> None:
        """Run a scene in the slot's thread."""
        self._lines[slot].add(partial(self._lines[slot].runner.run_scene, request))

    def stop_worker(self, slot: int, *, grace_s: float) -> None:
        """Interrupt the slot's thread and let it end the worker."""
        self._lines[slot].runner.interrupt()
        self._lines[slot].add(partial(self._lines[slot].runner.stop_worker, grace_s))

    def next_event(self, timeout_s: float) -> WorkerEvent | None:
        """Return the next event of any slot, or None."""
        try:
            return self._events.get(timeout=timeout_s)
        except queue.Empty:
            return None

    def close(self) -> Sequence[WorkerEvent]:
        """End every worker and its thread."""
        lines, self._lines = self._lines, {}
        for line in lines.values():
            line.end()
        untaken = []
        # A thread may wait for room among the events: taking them out lets it end.
        while any(line.is_alive() for line in lines.values()) or not self._events.empty():
            event = self.next_event(DRAIN_S)
            if event is not None:
                untaken.append(event)
        return untaken


class _SlotThread:
    """A thread that carries out commands one after the other."""

    def __init__(self, runner: SceneRunner) -> None:
        self.runner = runner
        self._commands: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="worker-slot", daemon=True)
        self._thread.start()

    def add(self, command: Callable[[], None]) -> None:
        """Queue a command."""
        self._commands.put(command)

    def end(self) -> None:
        """Interrupt what is going on, end the worker, then the thread."""
        self.runner.interrupt()
        self._commands.put(self.runner.end)
        self._commands.put(None)

    def is_alive(self) -> bool:
        """Say whether the thread still works."""
        return self._thread.is_alive()

    def _work(self) -> None:
        while (command := self._commands.get()) is not None:
            command()
