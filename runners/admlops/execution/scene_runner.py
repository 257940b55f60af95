"""One worker slot at work: starts its worker, hands it scenes, ends it, and tells what happens as events.

Any executor can use it, on whichever machine the worker runs; each call blocks until what it began is over.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace

from admlops.execution.cancel import CancelToken
from admlops.execution.executor import (
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    Slot,
    SlotBroken,
    WorkerEvent,
    WorkerFailed,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.failures import LOST, WorkerError, WorkerFailure
from admlops.execution.process_log import ProcessLog
from admlops.execution.scene_job import WorkerSpec
from admlops.execution.worker import Worker
from admlops.health.gpus import find_loss


class SceneRunner:
    """The worker of one slot. Call it from one thread, which must outlive the worker; `interrupt` from any.

    Args:
        spec: what the worker is.
        slot: where it runs.
        emit: takes its events; may block.
        cancel: interrupts the worker.
        lost_gpus: the uuids of GPUs that are gone, shared by the slots of one machine; whoever finds one gone adds it.
    """

    def __init__(
        self,
        spec: WorkerSpec,
        slot: Slot,
        *,
        emit: Callable[[WorkerEvent], None],
        cancel: CancelToken,
        lost_gpus: set[str] | None = None,
    ) -> None:
        self._spec = spec
        self._slot = slot
        self._emit = emit
        self._cancel = cancel
        self._lost_gpus = set() if lost_gpus is None else lost_gpus
        self._interrupted = threading.Event()
        self._log = ProcessLog(spec.logs / f"worker-{slot.number}.log")
        self._worker: Worker | None = None
        self._starts = 0

    def interrupt(self) -> None:
        """Interrupt the worker: `stop_worker` follows."""
        self._interrupted.set()

    def start_worker(self, shrink: int) -> None:
        """Start a worker and wait until its model is loaded."""
        self._guard(lambda: self._start(shrink))

    def run_scene(self, request: SceneRequest) -> None:
        """Pass on the worker's answers, one a sample."""
        self._guard(lambda: self._run(request))

    def end(self) -> None:
        """End the worker at the end of the run: commands before this one are interrupted."""
        self._guard(lambda: self._stop(self._spec.grace_s))

    def stop_worker(self, grace_s: float) -> None:
        """End the worker, if there is one, and be ready for the next."""
        self._guard(lambda: self._stop(grace_s))

    def _stop(self, grace_s: float) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            ending = worker.stop(grace_s=grace_s)
            self._emit(
                WorkerStopped(
                    slot=self._slot.number,
                    pid=worker.pid,
                    mark=worker.mark,
                    exit_code=ending.exit_code,
                    left=ending.left,
                )
            )
        self._interrupted.clear()

    def _start(self, shrink: int) -> None:
        if self._is_asked_to_stop():
            return
        spec, device = self._spec, self._slot.device.without(self._lost_gpus)
        self._starts += 1
        worker = self._worker = Worker(
            replace(spec.command, variables={**spec.command.variables, **device.variables}),
            log=self._log,
            deadlines=spec.deadlines,
            is_cancelled=self._is_asked_to_stop,
            title=f"worker {self._slot.number}, start {self._starts}",
            on_cpu=device.kind == "cpu",
        )
        self._emit(WorkerStarted(slot=self._slot.number, pid=worker.pid, mark=worker.mark))
        load = {**spec.settings, "device": device.id_in_worker, "gpu": device.uuid, "shrink": shrink}
        hello, ready = worker.start(model=spec.model, load=load)
        self._emit(WorkerReady(slot=self._slot.number, hello=hello, ready=ready))

    def _run(self, request: SceneRequest) -> None:
        if self._is_asked_to_stop():
            return
        assert self._worker is not None, "a scene for a slot without a worker"
        for answer in self._worker.run_scene(request.scene, request.samples, batch=request.batch):
            if self._is_asked_to_stop():
                return
            self._emit(SampleAnswered(slot=self._slot.number, answer=answer))
        self._emit(SceneAnswered(slot=self._slot.number))

    def _guard(self, work: Callable[[], None]) -> None:
        try:
            work()
        except WorkerError as error:
            if not self._is_asked_to_stop():
                self._emit(WorkerFailed(slot=self._slot.number, failure=self._look_at_device(error.failure)))
        except BaseException as error:  # noqa: BLE001  a thread's edge: the coordinator raises it
            self._emit(SlotBroken(slot=self._slot.number, error=error))

    def _look_at_device(self, failure: WorkerFailure) -> WorkerFailure:
        """Return the failure, as that of a lost device if the worker's GPU is gone."""
        uuid = self._slot.device.uuid
        loss = None if uuid is None else find_loss(uuid)
        if uuid is None or loss is None:
            return failure
        self._lost_gpus.add(uuid)
        seen = f"{loss}; its worker ended so: {failure.message}"
        return replace(failure, kind="lost", message=LOST, detail=seen)

    def _is_asked_to_stop(self) -> bool:
        return self._interrupted.is_set() or self._cancel.is_cancelled
