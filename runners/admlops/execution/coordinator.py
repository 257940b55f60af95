"""The coordinator of a run: which scene goes where, what follows a failure, which records are written.

It is one loop over the events of an executor's slots, in the thread that calls `execute`. A scene that fails is done
again from its first sample, in a fresh worker, because models carry state from sample to sample. A record never depends
on which worker made it, or on how many there are.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from msgspec import UNSET, structs

from admlops.core.errors import StorageError
from admlops.execution.accounting import Accounting
from admlops.execution.cancel import CancelToken
from admlops.execution.executor import (
    Executor,
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
from admlops.execution.failures import POLICIES, WorkerFailure, diagnose_failure
from admlops.execution.messages import NOT_LOADED, Failed, Result
from admlops.execution.process_cleanup import end_processes
from admlops.execution.scene_attempt import SceneAttempt, plan_scenes
from admlops.execution.scene_job import Job, RunEvent, Summary
from admlops.execution.worker import reported_failure
from admlops.results.run_folder import RunFolder

WAKE_S = 0.2
"""How often the cancel token is looked at while no event comes."""
PATIENCE_S = 1.0
"""The time that a failed worker gets to heed `stop`, and again to heed TERM [s]."""

OnEvent = Callable[[RunEvent], None]


def execute(job: Job, *, executor: Executor, on_event: OnEvent, cancel: CancelToken | None = None) -> Summary:
    """Run the job's scenes and write their records and events; sets the run's state. Call it from any thread.

    `on_event` is called in this thread. A set `cancel` ends the workers; the summary says so, and the run can be
    resumed. No worker outlives this call.

    Raises:
        UsageError: the executor has no such device.
        StorageError: the disk is full or the folder read-only; whole scenes stay, the run can be resumed.
        EnvError: the environment's Python could not be started.
    """
    token = cancel or CancelToken()
    executor.slots()  # a wrong device is said before anything is touched
    end_abandoned_workers(job.run)
    job.run.begin()
    try:
        with token.watched():
            summary = RunCoordinator(job, executor, token, on_event).run()
    except BaseException as error:  # Ctrl-C too: whatever ends the run, its folder must not say that it goes on
        with suppress(StorageError):  # the disk may be what failed
            job.run.end(
                "cancelled" if isinstance(error, KeyboardInterrupt) else "failed",
                error=str(error) or type(error).__name__,
            )
        raise
    job.run.end(summary.state, error=None if summary.stopped_by is None else summary.stopped_by.summary)
    return summary


def end_abandoned_workers(run: RunFolder) -> list[int]:
    """End the processes that an earlier, killed host left behind. Returns those that outlive KILL."""
    started, stopped = set(), set()
    for event in run.events():
        if event.get("event") == "worker_started":
            started.add(str(event.get("mark")))
        elif event.get("event") == "worker_stopped" and not event.get("left"):
            stopped.add(str(event.get("mark")))
    marks = frozenset(started - stopped)
    return end_processes(marks) if marks else []


class _SlotState:
    """One slot as the coordinator sees it: its worker, and the scene that it is at."""

    def __init__(self, slot: Slot) -> None:
        self.number = slot.number
        self.device = slot.device.id
        self.attempt: SceneAttempt | None = None
        self.shrink: int | None = None
        """The `shrink` that the slot's worker was loaded with; None: there is no worker."""
        self.is_stopping = False
        self.ready = NOT_LOADED

    @property
    def is_busy(self) -> bool:
        return self.attempt is not None or self.is_stopping


class RunCoordinator:
    """Carries out the failure policies over the slots of an executor, scene by scene."""

    def __init__(self, job: Job, executor: Executor, cancel: CancelToken, on_event: OnEvent) -> None:
        self._job = job
        self._executor = executor
        self._cancel = cancel
        self._on_event = on_event
        self._own_cancel = CancelToken()
        self._is_closing = False
        self._plan = plan_scenes(job)
        self._accounting = Accounting(job)
        self._slots = {slot.number: _SlotState(slot) for slot in executor.slots()}

    def run(self) -> Summary:
        """Run every scene that waits; return the summary."""
        for scene, samples in self._plan.done_before:
            self._on_event(RunEvent(kind="resumed", scene=scene, samples=samples))
        try:
            if self._plan.waiting:
                self._executor.start(self._job.worker, self._own_cancel)
                self._loop()
        finally:
            self._own_cancel.cancel()
            self._close()
        return self._accounting.summarize()

    def _loop(self) -> None:
        for slot in self._slots.values():
            self._advance(slot)
        while not self._accounting.is_stopping and any(slot.is_busy for slot in self._slots.values()):
            event = self._executor.next_event(WAKE_S)
            if event is not None:
                self._handle(event)
            if self._cancel.is_cancelled:
                self._stop(WorkerFailure(kind="cancelled", message="the run was cancelled"))

    def _close(self) -> None:
        """End what is left of workers, and write down how they ended."""
        self._is_closing = True
        for slot in self._slots.values():
            if slot.attempt is not None:
                self._accounting.drop(slot.attempt)
                with suppress(StorageError):  # nothing of an unfinished scene counts
                    slot.attempt.close()
        untaken = self._executor.close()
        for event in untaken:
            if isinstance(event, WorkerStarted):
                self._note_started(self._slots[event.slot], event)
            elif isinstance(event, WorkerStopped):
                self._worker_stopped(self._slots[event.slot], event)
        broken = next((event.error for event in untaken if isinstance(event, SlotBroken)), None)
        if broken is not None:
            raise broken

    def _handle(self, event: WorkerEvent) -> None:
        slot = self._slots[event.slot]
        match event:
            case WorkerStarted():
                self._note_started(slot, event)
                self._on_event(RunEvent(kind="worker", worker=slot.number, pid=event.pid))
            case WorkerStopped():
                self._worker_stopped(slot, event)
            case SlotBroken():
                raise event.error
            case _ if slot.is_stopping:
                return  # what a worker said before it was told to end
            case WorkerReady():
                self._worker_ready(slot, event)
            case SampleAnswered():
                self._take(slot, event.answer)
            case SceneAnswered():
                self._finish_scene(slot)
            case WorkerFailed():
                self._worker_failed(slot, event.failure)

    # --- what a slot does next

    def _advance(self, slot: _SlotState) -> None:
        """Give a slot that nothing goes on in its next command."""
        attempt = None if self._is_closing else self._next_attempt(slot)
        if attempt is None or self._accounting.is_stopping:
            return
        if slot.shrink is None:
            slot.shrink = attempt.shrink
            self._executor.start_worker(slot.number, shrink=slot.shrink)
        elif slot.shrink != attempt.shrink:  # with another `shrink` it would give other records
            self._stop_worker(slot, grace_s=self._job.grace_s)
        else:
            attempt.open(slot.ready)
            self._write_unreadable(slot)
            request = SceneRequest(scene=attempt.scene.name, samples=attempt.samples, batch=attempt.batch)
            self._executor.run_scene(slot.number, request)

    def _next_attempt(self, slot: _SlotState) -> SceneAttempt | None:
        """Return the scene that the slot is at, or the next one that needs a worker; None if there is none."""
        while slot.attempt is None and self._plan.waiting and not self._accounting.is_stopping:
            slot.attempt = self._plan.waiting.pop(0)
            slot.attempt.read(self._job.samples)
            if not slot.attempt.samples:  # nothing of it can be read
                slot.attempt.open(NOT_LOADED)
                self._finish_scene(slot, go_on=False)
        return slot.attempt

    def _stop_worker(self, slot: _SlotState, *, grace_s: float) -> None:
        slot.is_stopping = True
        self._executor.stop_worker(slot.number, grace_s=grace_s)

    def _worker_ready(self, slot: _SlotState, event: WorkerReady) -> None:
        slot.ready = event.ready
        self._note(
            "worker_ready",
            slot,
            python=event.hello.python,
            libraries=event.hello.libraries,
            digest=event.hello.digest,
            device_name=event.ready.device_name,
            fixes=event.ready.fixes,
            precision=None if event.ready.precision is UNSET else structs.asdict(event.ready.precision),
        )
        self._advance(slot)

    def _worker_stopped(self, slot: _SlotState, event: WorkerStopped) -> None:
        self._accounting.left += event.left
        self._note("worker_stopped", slot, pid=event.pid, mark=event.mark, exit_code=event.exit_code, left=event.left)
        slot.shrink, slot.is_stopping = None, False
        self._advance(slot)

    # --- answers

    def _take(self, slot: _SlotState, answer: Result | Failed) -> None:
        """Write one answer down, unless it asks for a fresh worker."""
        attempt = slot.attempt
        assert attempt is not None, "an answer without a scene"
        failure = self._find_failure(answer)
        if failure is None:
            assert isinstance(answer, Result), "a failure that is none"
            attempt.recorder.add(answer)
        elif POLICIES[failure.kind].retries > attempt.tries[failure.kind]:
            self._worker_failed(slot, failure)
            return
        else:
            attempt.recorder.fail(failure)
        self._tell_sample(slot, answer.sample_token, failure, answer if isinstance(answer, Result) else None)
        self._write_unreadable(slot)

    def _find_failure(self, answer: Result | Failed) -> WorkerFailure | None:
        if isinstance(answer, Failed):
            return self._diagnose(reported_failure(answer))
        fault = None if self._job.expected is None else self._job.expected.find_fault(answer.outputs)
        return None if fault is None else WorkerFailure(kind="model", message=fault)

    def _write_unreadable(self, slot: _SlotState) -> None:
        """Write failed records for the samples that come next and could not be read."""
        attempt = slot.attempt
        while attempt is not None and not self._accounting.is_stopping:
            sample = attempt.recorder.expected()
            failure = None if sample is None else attempt.unreadable.get(sample.token)
            if sample is None or failure is None:
                return
            attempt.recorder.fail(failure)
            self._tell_sample(slot, sample.token, failure)

    def _tell_sample(
        self,
        slot: _SlotState,
        token: str | None,
        failure: WorkerFailure | None,
        result: Result | None = None,
    ) -> None:
        if failure is not None:
            self._note_failure(slot, failure, "skip_sample", sample_token=token)
        measured = {} if result is None or failure is not None else _measured(result)
        self._tell(slot, "sample", sample_token=token, samples=1, failure=failure, **measured)
        if not self._accounting.note_answer(failure) and failure is not None:
            self._stop(failure)

    def _finish_scene(self, slot: _SlotState, *, go_on: bool = True) -> None:
        attempt = slot.attempt
        assert attempt is not None, "the end of no scene"
        self._write_unreadable(slot)
        if self._accounting.is_stopping:
            return
        attempt.recorder.commit()
        attempt.close()
        slot.attempt = None
        recorder = attempt.recorder
        self._job.run.append_event("scene", scene=attempt.scene.name, samples=recorder.done, failed=recorder.failed)
        self._on_event(RunEvent(kind="scene", worker=slot.number, scene=attempt.scene.name))
        if go_on:
            self._advance(slot)

    # --- failures

    def _worker_failed(self, slot: _SlotState, failure: WorkerFailure) -> None:
        """Do the scene again, or give it up, as the policy says. The worker is ended in either case."""
        attempt = slot.attempt
        assert attempt is not None, "a failure without a scene"
        failure = self._diagnose(failure)
        # A little patience even now: a model may have files to close.
        self._stop_worker(slot, grace_s=min(PATIENCE_S, self._job.grace_s))
        smaller = None if attempt.batch is None else attempt.batch.after(failure)
        if smaller is not None and self._accounting.allow_another(failure):
            self._note_failure(slot, failure, "retry")
            self._tell(slot, "retry", samples=-attempt.done, failure=failure)
            attempt.begin_again(shrink=False, batch=smaller)
            return
        if self._accounting.allow_retry(failure, attempt.tries):
            self._note_failure(slot, failure, "retry")
            self._tell(slot, "retry", samples=-attempt.done, failure=failure)
            attempt.begin_again(shrink=POLICIES[failure.kind].shrink)
            return
        no_more_retries = self._accounting.stopped_by is not None
        if no_more_retries or failure.starting or POLICIES[failure.kind].then == "stop":
            self._note_failure(slot, failure, "stop")
            self._stop(failure)
        else:
            self._skip_scene(slot, attempt, failure)

    def _skip_scene(self, slot: _SlotState, attempt: SceneAttempt, failure: WorkerFailure) -> None:
        self._note_failure(slot, failure, "skip_scene")
        attempt.open(slot.ready)
        skipped = attempt.recorder.fail_rest(failure)
        self._tell(slot, "skip", samples=skipped, failure=failure)
        if not self._accounting.note_answer(failure):
            self._stop(failure)
        self._finish_scene(slot, go_on=False)

    def _stop(self, failure: WorkerFailure) -> None:
        """Stop the run; the first reason counts."""
        if self._accounting.is_stopping:
            return
        self._accounting.stop(failure)
        if failure.kind == "cancelled":
            self._job.run.append_event("cancelled")
        self._on_event(RunEvent(kind="stop", failure=failure))

    def _diagnose(self, failure: WorkerFailure) -> WorkerFailure:
        return diagnose_failure(failure, model=self._job.model, python=self._job.command.python)

    # --- telling

    def _note_started(self, slot: _SlotState, event: WorkerStarted) -> None:
        self._note("worker_started", slot, pid=event.pid, mark=event.mark, shrink=slot.shrink, device=slot.device)

    def _note(self, kind: str, slot: _SlotState, **facts: Any) -> None:
        self._job.run.append_event(kind, worker=slot.number, **facts)

    def _note_failure(
        self, slot: _SlotState, failure: WorkerFailure, action: str, *, sample_token: str | None = None
    ) -> None:
        self._note(
            "failure",
            slot,
            **{"class": failure.kind},
            message=failure.message,
            detail=failure.detail,
            starting=failure.starting,
            rule=failure.diagnosis.rule if failure.diagnosis else None,
            hint=failure.hint,
            action=action,
            scene=None if slot.attempt is None else slot.attempt.scene.name,
            sample_token=sample_token,
        )

    def _tell(self, slot: _SlotState, kind: Any, **facts: Any) -> None:
        scene = None if slot.attempt is None else slot.attempt.scene.name
        self._on_event(RunEvent(kind=kind, worker=slot.number, scene=scene, **facts))


def _measured(result: Result) -> dict[str, Any]:
    return {
        "inference_time": result.inference_time,
        "batch": 1 if result.batch is UNSET else result.batch,
        "usage": None if result.usage is UNSET else result.usage,
    }
