"""The coordinator of a run: which scene goes where, what follows a failure, which records are written.

It is one loop over the events of an executor's slots, in the thread that calls `execute`. A scene that fails is done
again from its first sample, in a fresh worker, because models carry state from sample to sample. A record never depends
on which worker made it, or on how many there are.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from admlops.core.errors import StorageError
from admlops.execution.accounting import Accounting
from admlops.execution.cancel import CancelToken
from admlops.execution.executor import (
    Executor,
    Joinable,
    SampleAnswered,
    SceneAnswered,
    SceneRequest,
    SlotBroken,
    SlotJoined,
    SlotLost,
    WorkerEvent,
    WorkerFailed,
    WorkerReady,
    WorkerStarted,
    WorkerStopped,
)
from admlops.execution.failures import POLICIES, WorkerFailure, diagnose_failure
from admlops.execution.messages import NOT_LOADED, Failed, Result
from admlops.execution.process_cleanup import end_processes
from admlops.execution.run_journal import OnEvent, RunJournal
from admlops.execution.scene_attempt import SceneAttempt, plan_scenes
from admlops.execution.scene_job import Job, Summary
from admlops.execution.slot_states import SlotState, SlotTable
from admlops.execution.worker import reported_failure
from admlops.results.run_folder import RunFolder

WAKE_S = 0.2
"""How often the cancel token is looked at while no event comes."""
LOST = "the device or the machine of its worker was lost"
"""The message of a lost place; it may go into records, so it names none."""
PATIENCE_S = 1.0
"""The time that a failed worker gets to heed `stop`, and again to heed TERM [s]."""


def execute(
    job: Job,
    *,
    executor: Executor,
    on_event: OnEvent,
    cancel: CancelToken | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Summary:
    """Run the job's scenes and write their records and events; sets the run's state. Call it from any thread.

    `on_event` is called in this thread. A set `cancel` ends the workers; the summary says so, and the run can be
    resumed. No worker outlives this call. `clock` tells the executor's time [s].

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
            summary = RunCoordinator(job, executor, token, on_event, clock=clock).run()
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


class RunCoordinator:
    """Carries out the failure policies over the slots of an executor, scene by scene."""

    def __init__(
        self,
        job: Job,
        executor: Executor,
        cancel: CancelToken,
        on_event: OnEvent,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._job = job
        self._executor = executor
        self._cancel = cancel
        self._clock = clock
        self._journal = RunJournal(job, on_event)
        self._own_cancel = CancelToken()
        self._is_closing = False
        self._plan = plan_scenes(job)
        self._accounting = Accounting(job)
        self._slots = SlotTable(executor.slots())
        self._alone_since: float | None = None
        """Since when there is no slot at all [s]."""

    def run(self) -> Summary:
        """Run every scene that waits; return the summary."""
        for scene, samples in self._plan.done_before:
            self._journal.tell_resumed(scene, samples)
        try:
            if self._plan.waiting:
                self._executor.start(self._job.worker, self._own_cancel)
                self._loop()
        finally:
            self._own_cancel.cancel()
            self._close()
        return self._accounting.summarize()

    def _loop(self) -> None:
        for slot in self._slots:
            self._advance(slot)
        while not self._accounting.is_stopping and self._goes_on():
            event = self._executor.next_event(WAKE_S)
            if event is not None:
                self._handle(event)
            if self._cancel.is_cancelled:
                self._stop(WorkerFailure(kind="cancelled", message="the run was cancelled"))

    def _goes_on(self) -> bool:
        """Say whether events are to come: of a slot, or of one that may join while scenes wait without any."""
        if self._slots.any_busy():
            return True
        if not self._plan.waiting:
            return False
        if self._alone_since is None:
            self._alone_since = self._clock()
        wait_s = self._executor.join_wait_s if isinstance(self._executor, Joinable) else 0.0
        if self._clock() < self._alone_since + wait_s:
            return True
        self._stop(self._accounting.explain_no_place(wait_s))
        return False

    def _close(self) -> None:
        """End what is left of workers, and write down how they ended."""
        self._is_closing = True
        for slot in self._slots:
            if slot.attempt is not None:
                self._accounting.drop(slot.attempt)
                with suppress(StorageError):  # nothing of an unfinished scene counts
                    slot.attempt.close()
        untaken = self._executor.close()
        for event in untaken:
            known = None if isinstance(event, SlotJoined) else self._slots.get(event.slot)
            if known is not None and isinstance(event, WorkerStarted):
                self._journal.note_started(known, event)
            elif known is not None and isinstance(event, WorkerStopped):
                self._worker_stopped(known, event)
        broken = next((event.error for event in untaken if isinstance(event, SlotBroken)), None)
        if broken is not None:
            raise broken

    def _handle(self, event: WorkerEvent) -> None:
        if isinstance(event, SlotJoined):
            self._slot_joined(event)
            return
        slot = self._slots.get(event.slot)
        if slot is None:
            return  # of a slot that was lost: its scene is done elsewhere
        match event:
            case SlotLost():
                self._slot_lost(slot, event)
            case WorkerStarted():
                self._journal.note_started(slot, event)
                self._journal.tell_started(slot, event)
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

    def _advance(self, slot: SlotState) -> None:
        """Give a slot that nothing goes on in its next command."""
        attempt = None if self._is_closing else self._next_attempt(slot)
        if attempt is None or self._accounting.is_stopping:
            self._slots.rest(slot)
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
            slot.is_running = True
            self._executor.run_scene(slot.number, request)

    def _next_attempt(self, slot: SlotState) -> SceneAttempt | None:
        """Return the scene that the slot is at, or the next one that needs a worker; None if there is none."""
        while slot.attempt is None and self._plan.waiting and not self._accounting.is_stopping:
            slot.attempt = self._plan.waiting.popleft()
            slot.attempt.read(self._job.samples)
            if not slot.attempt.samples:  # nothing of it can be read
                slot.attempt.open(NOT_LOADED)
                self._finish_scene(slot, go_on=False)
        return slot.attempt

    def _stop_worker(self, slot: SlotState, *, grace_s: float) -> None:
        slot.is_stopping, slot.is_running = True, False
        self._executor.stop_worker(slot.number, grace_s=grace_s)

    def _worker_ready(self, slot: SlotState, event: WorkerReady) -> None:
        slot.ready = event.ready
        self._journal.note_ready(slot, event)
        self._advance(slot)

    def _worker_stopped(self, slot: SlotState, event: WorkerStopped) -> None:
        self._accounting.left += event.left
        self._journal.note_stopped(slot, event)
        slot.shrink, slot.is_stopping = None, False
        self._advance(slot)

    # --- answers

    def _take(self, slot: SlotState, answer: Result | Failed) -> None:
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
        time_s = answer.inference_time if isinstance(answer, Result) and failure is None else None
        self._tell_sample(slot, answer.sample_token, failure, inference_time=time_s)
        self._write_unreadable(slot)

    def _find_failure(self, answer: Result | Failed) -> WorkerFailure | None:
        if isinstance(answer, Failed):
            return self._diagnose(reported_failure(answer))
        fault = None if self._job.expected is None else self._job.expected.find_fault(answer.outputs)
        return None if fault is None else WorkerFailure(kind="model", message=fault)

    def _write_unreadable(self, slot: SlotState) -> None:
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
        slot: SlotState,
        token: str | None,
        failure: WorkerFailure | None,
        *,
        inference_time: float | None = None,
    ) -> None:
        if failure is not None:
            self._journal.note_failure(slot, failure, "skip_sample", sample_token=token)
        self._journal.tell(
            slot, "sample", sample_token=token, samples=1, inference_time=inference_time, failure=failure
        )
        if not self._accounting.note_answer(failure) and failure is not None:
            self._stop(failure)

    def _finish_scene(self, slot: SlotState, *, go_on: bool = True) -> None:
        attempt = slot.attempt
        assert attempt is not None, "the end of no scene"
        self._write_unreadable(slot)
        if self._accounting.is_stopping:
            return
        attempt.recorder.commit()
        attempt.close()
        self._journal.note_scene(slot)
        slot.attempt, slot.is_running = None, False
        if go_on:
            self._advance(slot)

    # --- places that come and go

    def _slot_lost(self, slot: SlotState, event: SlotLost) -> None:
        """Do the lost slot's scene elsewhere. What a scene of its own does to a place, it does `retries` times only."""
        failure = WorkerFailure(kind="lost", message=LOST, detail=event.reason, advice=event.hint)
        self._slots.remove(slot.number)
        self._accounting.note_lost(slot.slot, failure)
        self._journal.note_lost(slot, failure)
        attempt = slot.attempt
        if attempt is not None and slot.is_running and not attempt.allow_loss():
            self._skip_scene(slot, attempt, failure)
        elif attempt is not None:
            self._journal.note_failure(slot, failure, "retry")
            self._journal.tell(slot, "retry", samples=-attempt.done, failure=failure)
            self._requeue(slot, attempt)
        self._wake()

    def _slot_joined(self, event: SlotJoined) -> None:
        slot = self._slots.add(event.slot)
        self._alone_since = None
        self._journal.note_joined(slot)
        self._advance(slot)

    def _requeue(self, slot: SlotState, attempt: SceneAttempt) -> None:
        """Let the next free slot do the scene again; the longest are begun first, so it comes before all others."""
        attempt.begin_again(shrink=False)
        slot.attempt, slot.is_running = None, False
        self._plan.waiting.appendleft(attempt)

    def _wake(self) -> None:
        """Let slots that had nothing to do look again."""
        if self._plan.waiting and not self._is_closing:
            for slot in self._slots.wake():
                self._advance(slot)

    # --- failures

    def _worker_failed(self, slot: SlotState, failure: WorkerFailure) -> None:
        """Do the scene again, or give it up, as the policy says. The worker is ended in either case."""
        attempt = slot.attempt
        assert attempt is not None, "a failure without a scene"
        failure = self._diagnose(failure)
        # A little patience even now: a model may have files to close.
        self._stop_worker(slot, grace_s=min(PATIENCE_S, self._job.grace_s))
        smaller = None if attempt.batch is None else attempt.batch.after(failure)
        if smaller is not None and self._accounting.allow_another(failure):
            self._journal.note_failure(slot, failure, "retry")
            self._journal.tell(slot, "retry", samples=-attempt.done, failure=failure)
            attempt.begin_again(shrink=False, batch=smaller)
            return
        if self._accounting.allow_retry(failure, attempt.tries):
            self._journal.note_failure(slot, failure, "retry")
            self._journal.tell(slot, "retry", samples=-attempt.done, failure=failure)
            attempt.begin_again(shrink=POLICIES[failure.kind].shrink)
            return
        no_more_retries = self._accounting.stopped_by is not None
        if no_more_retries or failure.starting or POLICIES[failure.kind].then == "stop":
            self._journal.note_failure(slot, failure, "stop")
            self._stop(failure)
        else:
            self._skip_scene(slot, attempt, failure)

    def _skip_scene(self, slot: SlotState, attempt: SceneAttempt, failure: WorkerFailure) -> None:
        self._journal.note_failure(slot, failure, "skip_scene")
        attempt.open(slot.ready)
        skipped = attempt.recorder.fail_rest(failure)
        self._journal.tell(slot, "skip", samples=skipped, failure=failure)
        if not self._accounting.note_answer(failure):
            self._stop(failure)
        self._finish_scene(slot, go_on=False)

    def _stop(self, failure: WorkerFailure) -> None:
        """Stop the run; the first reason counts."""
        if self._accounting.is_stopping:
            return
        self._accounting.stop(failure)
        self._journal.note_stop(failure)

    def _diagnose(self, failure: WorkerFailure) -> WorkerFailure:
        return diagnose_failure(failure, model=self._job.model, python=self._job.command.python)
