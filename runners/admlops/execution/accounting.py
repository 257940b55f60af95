"""Counting what policies need: retries, the model's first failures, the reason to stop; and the summary."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Literal

from admlops.execution.executor import Slot
from admlops.execution.failures import FAILING_FROM_THE_START, POLICIES, WorkerFailure
from admlops.execution.scene_attempt import SceneAttempt
from admlops.execution.scene_job import Job, LostPlace, Summary
from admlops.results.record import FailureClass


class Accounting:
    """The counts of one run, kept by its coordinator. `on_stop` is called with the reason when it begins to stop."""

    def __init__(self, job: Job, *, on_stop: Callable[[WorkerFailure], None]) -> None:
        self._job = job
        self._on_stop = on_stop
        self.stopped_by: WorkerFailure | None = None
        self.is_stopping = False
        self.left: list[int] = []
        self.lost: list[LostPlace] = []
        self._failures: dict[FailureClass, WorkerFailure] = {}
        self._retries = 0
        self._model_works = False
        self._model_failures = 0
        self._dropped = 0

    def allow_retry(self, failure: WorkerFailure, tries: Counter[FailureClass]) -> bool:
        """Say whether the scene may be done again with a fresh worker; count it if so. `tries` are the scene's own.

        Sets `stopped_by` once the run has no retry left.
        """
        self._failures.setdefault(failure.kind, failure)
        if tries[failure.kind] >= POLICIES[failure.kind].retries or not self.allow_another(failure):
            return False
        tries[failure.kind] += 1
        return True

    def allow_another(self, failure: WorkerFailure) -> bool:
        """Say whether the run may retry without costing the scene a try, as in smaller batches; count it if so.

        Sets `stopped_by` once the run has no retry left.
        """
        self._failures.setdefault(failure.kind, failure)
        if self._retries >= self._job.retry_limit:
            self.stopped_by = self.stopped_by or failure
            return False
        self._retries += 1
        return True

    def note_answer(self, failure: WorkerFailure | None) -> bool:
        """Count a finished sample; return False if the model fails from its first sample on and the run must stop."""
        if failure is None:
            self._model_works = True
            return True
        self._failures.setdefault(failure.kind, failure)
        if failure.kind == "model" and not self._model_works:
            self._model_failures += 1
            return self._model_failures < FAILING_FROM_THE_START
        return True

    def drop(self, attempt: SceneAttempt) -> None:
        """Count the failed samples of a scene that is not finished: none of its records stays."""
        self._dropped += attempt.failed

    def note_lost(self, slots: Sequence[Slot], failure: WorkerFailure) -> None:
        """Note a device that is gone, with the places on it."""
        slot = slots[0]
        self.lost.append(
            LostPlace(
                workers=tuple(slot.number for slot in slots),
                device=slot.device.id,
                device_name=slot.device.name,
                node=slot.node,
                at=round(time.time(), 3),
                failure=failure,
            )
        )

    def explain_no_place(self, waited_s: float) -> WorkerFailure:
        """Return the failure that ends a run with scenes to do but no place for a worker."""
        waited = f", and none joined within {waited_s:g} s" if waited_s else ""
        if not self.lost:
            return WorkerFailure(kind="lost", message=f"there is no place for a worker{waited}")
        last = self.lost[-1].failure
        return WorkerFailure(
            kind="lost",
            message=f"the last place for a worker was lost ({last.reason}){waited}",
            detail=last.detail,
            advice=last.advice,
        )

    def stop(self, failure: WorkerFailure) -> None:
        """Stop the run; the first reason counts."""
        if self.is_stopping:
            return
        self._failures.setdefault(failure.kind, failure)
        self.stopped_by = self.stopped_by or failure
        self.is_stopping = True
        self._on_stop(failure)

    def summarize(self) -> Summary:
        """Count what is on disk."""
        counts = self._job.run.count_statuses()
        remaining = sum(len(scene.samples) for scene in self._job.scenes) - counts.total()
        stopped = self.stopped_by
        state: Literal["complete", "failed", "cancelled"] = "complete"
        if remaining or (stopped is not None and self._job.retry_failed):
            state = "cancelled" if stopped is None or stopped.kind == "cancelled" else "failed"
        return Summary(
            state=state,
            ok=counts["ok"],
            failed=counts["failed"],
            remaining=remaining,
            retries=self._retries,
            stopped_by=stopped if state != "complete" else None,
            failures=tuple(self._failures.values()),
            dropped=self._dropped,
            first_failed=self._job.run.first_failure() if counts["failed"] else None,
            left=self.left,
            lost=tuple(self.lost),
        )
