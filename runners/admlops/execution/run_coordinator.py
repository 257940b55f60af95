"""The coordinator of a run: which scene goes where, what follows a failure, which records are written.

It is one loop over the events of an executor's slots, in the thread that calls `execute`. A scene that fails is done
again from its first sample, in a fresh worker, because models carry state from sample to sample. A record never depends
on which worker made it, or on how many there are. A scene is accepted once, by its name.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress

from admlops.core.errors import StorageError
from admlops.execution.accounting import Accounting
from admlops.execution.answer_writer import AnswerWriter
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
from admlops.execution.failures import LOST, POLICIES, WorkerFailure
from admlops.execution.messages import NOT_LOADED, Failed, Result
from admlops.execution.run_journal import OnEvent, RunJournal
from admlops.execution.scene_attempt import SceneAttempt, plan_scenes
from admlops.execution.scene_job import Job, Summary
from admlops.execution.slot_states import SlotState, SlotTable
from admlops.execution.stragglers import Paces, pair_up
from admlops.execution.verdicts import Judge, Verdict

WAKE_S = 0.2
"""How often the cancel token and slow scenes are checked while no event comes."""
PATIENCE_S = 1.0
"""The time that a failed worker gets to heed `stop`, and again to heed TERM [s]."""


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
        self._accounting = Accounting(job, on_stop=self._journal.note_stop)
        self._answers = AnswerWriter(job, self._accounting, self._journal)
        self._own_cancel = CancelToken()
        self._is_closing = False
        self._plan = plan_scenes(job)
        self._slots = SlotTable(executor.slots())
        self._judge = Judge(self._accounting)
        self._paces = Paces()
        self._looked = clock()
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
                self._accounting.stop(WorkerFailure(kind="cancelled", message="the run was cancelled"))
            self._help_slow_ones()

    def _goes_on(self) -> bool:
        """Say whether events are expected: of a slot, or of one that may join while scenes wait without any."""
        if not self._plan.unfinished:
            return False
        if self._slots.any_busy():
            return True
        if self._alone_since is None:
            self._alone_since = self._clock()
        wait_s = self._executor.join_wait_s if isinstance(self._executor, Joinable) else 0.0
        if self._clock() < self._alone_since + wait_s:
            return True
        self._accounting.stop(self._accounting.explain_no_place(wait_s))
        return False

    def _close(self) -> None:
        """End the remaining workers, and write down how they ended."""
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
        """Give an idle slot its next command."""
        attempt = None if self._is_closing else self._next_attempt(slot)
        if attempt is None or self._accounting.is_stopping:
            self._slots.rest(slot)
        elif slot.shrink is None:
            slot.shrink = attempt.shrink
            self._executor.start_worker(slot.number, shrink=slot.shrink)
        elif slot.shrink != attempt.shrink:  # with another `shrink` it would give other records
            self._stop_worker(slot, grace_s=self._job.grace_s)
        else:
            self._begin(slot, attempt)

    def _begin(self, slot: SlotState, attempt: SceneAttempt) -> None:
        attempt.open(slot.ready)
        self._answers.write_unreadable(slot)
        request = SceneRequest(scene=attempt.scene.name, samples=attempt.samples, batch=attempt.batch)
        slot.note_begin(self._clock())
        self._executor.run_scene(slot.number, request)

    def _next_attempt(self, slot: SlotState) -> SceneAttempt | None:
        """Return the scene that the slot is at, or the next one that needs a worker; None if there is none."""
        while slot.attempt is None and not self._accounting.is_stopping:
            slot.attempt = self._plan.take(slot.device, self._slots.has_device_beside)
            if slot.attempt is None:
                break
            slot.attempt.read(self._job.samples)
            if not slot.attempt.samples:  # nothing of it can be read
                slot.attempt.open(NOT_LOADED)
                self._finish_scene(slot, go_on=False)
        return slot.attempt

    def _stop_worker(self, slot: SlotState, *, grace_s: float) -> None:
        slot.is_stopping, slot.is_running = True, False
        self._executor.stop_worker(slot.number, grace_s=grace_s)

    def _worker_ready(self, slot: SlotState, event: WorkerReady) -> None:
        slot.ready, slot.failed_starts = event.ready, 0
        self._journal.note_ready(slot, event)
        self._advance(slot)

    def _worker_stopped(self, slot: SlotState, event: WorkerStopped) -> None:
        self._accounting.left += event.left
        self._journal.note_stopped(slot, event)
        slot.shrink, slot.is_stopping = None, False
        if slot.is_leaving:
            self._slots.remove(slot.number)
        else:
            self._advance(slot)

    # --- answers

    def _take(self, slot: SlotState, answer: Result | Failed) -> None:
        """Write down one answer, unless it calls for a fresh worker."""
        attempt = slot.attempt
        assert attempt is not None, "an answer without a scene"
        failure = self._answers.find_failure(answer)
        if failure is not None and (attempt.is_second or POLICIES[failure.kind].retries > attempt.tries[failure.kind]):
            self._worker_failed(slot, failure)
        else:
            self._answers.write(slot, answer, failure)
            slot.note_answer(self._clock())

    def _finish_scene(self, slot: SlotState, *, go_on: bool = True) -> None:
        attempt = slot.attempt
        assert attempt is not None, "the end of no scene"
        self._answers.write_unreadable(slot)
        if self._accounting.is_stopping:
            return
        self._drop_rival(slot, attempt)
        attempt.recorder.commit()
        attempt.close()
        if slot.is_running:
            self._paces.note(slot.note_scene(self._clock(), len(attempt.samples)))
        self._journal.note_scene(slot)
        self._plan.unfinished -= 1
        slot.attempt, slot.is_running = None, False
        if go_on:
            self._advance(slot)

    # --- places that come and go

    def _slot_joined(self, event: SlotJoined) -> None:
        slot = self._slots.add(event.slot)
        self._alone_since = None
        self._journal.note_joined(slot)
        self._advance(slot)

    def _slot_lost(self, slot: SlotState, event: SlotLost) -> None:
        """Do the lost slot's scene elsewhere; one whose places keep getting lost is repeated `retries` times only."""
        failure = WorkerFailure(kind="lost", message=LOST, detail=event.reason, advice=event.hint)
        self._slots.remove(slot.number)
        if not slot.is_leaving:
            self._accounting.note_lost([slot.slot], failure)
            self._journal.note_lost([slot], failure)
        attempt = slot.attempt
        if attempt is not None and slot.is_running and not attempt.has_rival and not attempt.allow_loss():
            self._skip_scene(slot, attempt, failure)
        elif attempt is not None:
            self._do_elsewhere(slot, attempt, failure, action="retry")
        self._wake()

    def _take_out(self, slot: SlotState, failure: WorkerFailure) -> None:
        """Take the device of a slot out of the run: it is at fault, not the scene. Others are left."""
        leaving = [one for one in self._slots if one.device == slot.device and not one.is_leaving]
        self._accounting.note_lost([one.slot for one in leaving], failure)
        self._journal.note_lost(leaving, failure)
        for one in leaving:
            one.is_leaving = True
            self._slots.set_to_work(one)
            if one.attempt is not None:
                one.attempt.forget_device(failure.kind)
                self._do_elsewhere(one, one.attempt, failure, action="elsewhere")
            if one.shrink is None and not one.is_stopping:
                self._slots.remove(one.number)
            elif not one.is_stopping:
                self._stop_worker(one, grace_s=min(PATIENCE_S, self._job.grace_s))
        self._wake()

    def _do_elsewhere(self, slot: SlotState, attempt: SceneAttempt, failure: WorkerFailure, *, action: str) -> None:
        """Take the scene from its slot; the next free slot that may do it gets it, unless another is at it already."""
        self._journal.note_failure(slot, failure, action)
        rival = self._slots.find_rival(slot) if attempt.has_rival else None
        if rival is None:
            self._journal.tell(slot, "retry", samples=-attempt.done, failure=failure)
            attempt.begin_again(shrink=False)
            self._plan.put_back(attempt)
        else:
            self._give_up_to(rival, slot, attempt)
        slot.attempt, slot.is_running = None, False

    def _wake(self) -> None:
        """Let slots that had nothing to do look again."""
        if self._plan.waiting and not self._is_closing:
            for slot in self._slots.wake():
                self._advance(slot)

    # --- what is slow

    def _help_slow_ones(self) -> None:
        """Let idle slots do the scenes that another machine is slow with."""
        if self._plan.waiting or not self._slots.are_spread:
            return
        now, usual_s = self._clock(), self._paces.usual_s
        if usual_s is None or now < self._looked + WAKE_S or self._accounting.is_stopping:
            return
        self._looked = now
        for slow, helper in pair_up(self._slots, self._slots.resting(), now=now, usual_s=usual_s):
            assert slow.attempt is not None, "slow with nothing"
            self._slots.set_to_work(helper)
            self._drop_rival(slow, slow.attempt)
            if slow.is_running:
                helper.attempt = slow.attempt.make_second()
                self._journal.note("second_attempt", helper, scene=slow.attempt.scene.name, slow_worker=slow.number)
            else:
                helper.attempt, slow.attempt = slow.attempt, None
            self._begin(helper, helper.attempt)

    def _drop_rival(self, winner: SlotState, attempt: SceneAttempt) -> None:
        """End the other attempt at a scene."""
        rival = self._slots.find_rival(winner) if attempt.has_rival else None
        if rival is not None and rival.attempt is not None:
            loser = rival.attempt
            self._give_up_to(winner, rival, loser)
            rival.attempt = None
            if not rival.is_stopping:
                self._stop_worker(rival, grace_s=min(PATIENCE_S, self._job.grace_s))

    def _give_up_to(self, other: SlotState, slot: SlotState, attempt: SceneAttempt) -> None:
        """Let the other slot's attempt be the only one at the scene."""
        assert other.attempt is not None, "no rival"
        if not attempt.is_second:
            self._journal.tell(other, "retry", samples=other.attempt.done - attempt.done)
        other.attempt.become_only()
        attempt.discard()

    # --- failures

    def _worker_failed(self, slot: SlotState, failure: WorkerFailure) -> None:
        """Do the scene again, or give it up, as the policy says. The worker is ended in either case."""
        failure = self._answers.diagnose(failure)
        # A little patience even now: a model may have files to close.
        self._stop_worker(slot, grace_s=min(PATIENCE_S, self._job.grace_s))
        attempt = slot.attempt
        verdict = self._judge.judge(slot, failure, has_others=self._slots.has_device_beside({slot.device}))
        if verdict is Verdict.TAKE_OUT:
            self._take_out(slot, failure)
        elif attempt is None:
            self._journal.note_failure(slot, failure, verdict)
        elif verdict in (Verdict.NOTHING, Verdict.START_ANEW):
            self._do_elsewhere(slot, attempt, failure, action="retry")
            self._wake()
        elif verdict is Verdict.STOP:
            self._journal.note_failure(slot, failure, "stop")
            self._accounting.stop(failure)
        elif verdict is Verdict.SKIP_SCENE:
            self._skip_scene(slot, attempt, failure)
        else:
            self._do_again(slot, attempt, failure, verdict)

    def _do_again(self, slot: SlotState, attempt: SceneAttempt, failure: WorkerFailure, verdict: Verdict) -> None:
        self._journal.note_failure(slot, failure, "retry")
        self._journal.tell(slot, "retry", samples=-attempt.done, failure=failure)
        if verdict is Verdict.AGAIN_SMALLER and attempt.batch is not None:
            attempt.begin_again(shrink=False, batch=attempt.batch.after(failure))
            return
        attempt.begin_again(shrink=POLICIES[failure.kind].shrink)
        if verdict is Verdict.ELSEWHERE:
            attempt.avoided.add(slot.device)
            slot.attempt = None
            self._plan.put_back(attempt)
            self._wake()

    def _skip_scene(self, slot: SlotState, attempt: SceneAttempt, failure: WorkerFailure) -> None:
        self._journal.note_failure(slot, failure, "skip_scene")
        attempt.open(slot.ready)
        skipped = attempt.recorder.fail_rest(failure)
        self._journal.tell(slot, "skip", samples=skipped, failure=failure)
        if not self._accounting.note_answer(failure):
            self._accounting.stop(failure)
        self._finish_scene(slot, go_on=False)
