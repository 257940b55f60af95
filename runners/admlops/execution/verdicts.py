"""Judging a worker's failure: what is done about its scene, and about its device."""

from __future__ import annotations

from enum import StrEnum

from admlops.execution.accounting import Accounting
from admlops.execution.device_watch import DeviceWatch
from admlops.execution.failures import POLICIES, WorkerFailure
from admlops.execution.slot_states import SlotState


class Verdict(StrEnum):
    """The consequence of a failure."""

    AGAIN = "again"
    """The scene is done again by a fresh worker of the same slot."""
    AGAIN_SMALLER = "again_smaller"
    """The same, with fewer samples at once."""
    ELSEWHERE = "elsewhere"
    """The scene is done again on another device, to tell which of the two is at fault."""
    START_ANEW = "start_anew"
    """The worker did not start: the scene goes to the first free slot, and loses no try."""
    TAKE_OUT = "take_out"
    """The device is at fault: it gets nothing more to do."""
    NOTHING = "nothing"
    """Another slot is at the scene."""
    SKIP_SCENE = "skip_scene"
    STOP = "stop"


class Judge:
    """Applies the failure policies, and counts what they allow."""

    def __init__(self, accounting: Accounting) -> None:
        self._accounting = accounting
        self._watch = DeviceWatch()

    def judge(self, slot: SlotState, failure: WorkerFailure, *, has_others: bool) -> Verdict:
        """Return the consequence. `has_others` says whether the run has another device."""
        attempt, policy = slot.attempt, POLICIES[failure.kind]
        if attempt is None or attempt.has_rival:
            return Verdict.TAKE_OUT if has_others and policy.device_limit == 1 else Verdict.NOTHING
        if attempt.batch is not None and attempt.batch.after(failure) is not None:
            return Verdict.AGAIN_SMALLER if self._accounting.allow_another(failure) else self._give_up(failure)
        if has_others and failure.starting and policy.blames_device_at_start and not policy.shrink:
            return self._judge_start(slot, failure)
        if has_others and self._watch.note(slot.device, failure.kind, attempt.scene.name):
            return Verdict.TAKE_OUT
        if self._accounting.allow_retry(failure, attempt.tries):
            return Verdict.ELSEWHERE if has_others and policy.device_limit else Verdict.AGAIN
        out_of_retries = self._accounting.stopped_by is not None
        if has_others and failure.starting and policy.blames_device_at_start and not out_of_retries:
            return Verdict.TAKE_OUT
        return self._give_up(failure)

    def _judge_start(self, slot: SlotState, failure: WorkerFailure) -> Verdict:
        policy = POLICIES[failure.kind]
        slot.failed_starts += 1
        if policy.device_limit == 1 or slot.failed_starts > policy.retries:
            return Verdict.TAKE_OUT
        return Verdict.START_ANEW if self._accounting.allow_another(failure) else self._give_up(failure)

    def _give_up(self, failure: WorkerFailure) -> Verdict:
        out_of_retries = self._accounting.stopped_by is not None
        if out_of_retries or failure.starting or POLICIES[failure.kind].then == "stop":
            return Verdict.STOP
        return Verdict.SKIP_SCENE
