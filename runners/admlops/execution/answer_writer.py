"""Writing down workers' answers: the records of a scene in progress, and the failures among them."""

from __future__ import annotations

from typing import Any

from msgspec import UNSET

from admlops.execution.accounting import Accounting
from admlops.execution.failures import WorkerFailure, diagnose_failure
from admlops.execution.messages import Failed, Result
from admlops.execution.run_journal import RunJournal
from admlops.execution.scene_job import Job
from admlops.execution.slot_states import SlotState
from admlops.execution.worker import reported_failure


class AnswerWriter:
    """Writes the records of the scene that a slot is at; it reports no answer of a second attempt."""

    def __init__(self, job: Job, accounting: Accounting, journal: RunJournal) -> None:
        self._job = job
        self._accounting = accounting
        self._journal = journal

    def find_failure(self, answer: Result | Failed) -> WorkerFailure | None:
        """Return what is wrong with an answer: the worker's own report, or outputs that the model must not have."""
        if isinstance(answer, Failed):
            return self.diagnose(reported_failure(answer))
        fault = None if self._job.expected is None else self._job.expected.find_fault(answer.outputs)
        return None if fault is None else WorkerFailure(kind="model", message=fault)

    def diagnose(self, failure: WorkerFailure) -> WorkerFailure:
        """Return the failure with its diagnosis, if it is a known one."""
        return diagnose_failure(failure, model=self._job.model, python=self._job.command.python)

    def write(self, slot: SlotState, answer: Result | Failed, failure: WorkerFailure | None) -> None:
        """Write the record of the slot's next sample, and of unreadable ones that follow it. Raises StorageError."""
        attempt = slot.attempt
        assert attempt is not None, "an answer without a scene"
        if failure is not None:
            attempt.recorder.fail(failure)
        else:
            assert isinstance(answer, Result), "a failure that is none"
            attempt.recorder.add(answer)
            if answer.graphs_refused is not UNSET:
                self._journal.note_refused_graphs(slot, answer.graphs_refused)
        self._tell(slot, answer.sample_token, failure, answer if isinstance(answer, Result) else None)
        self.write_unreadable(slot)

    def write_unreadable(self, slot: SlotState) -> None:
        """Write kept records, and failed records of unreadable samples, up to the next answer. Raises StorageError."""
        attempt = slot.attempt
        while attempt is not None and not self._accounting.is_stopping:
            sample = attempt.recorder.expected()
            failure = None if sample is None else attempt.unreadable.get(sample.token)
            if sample is None or failure is None:
                return
            attempt.recorder.fail(failure)
            self._tell(slot, sample.token, failure)

    def _tell(
        self,
        slot: SlotState,
        token: str | None,
        failure: WorkerFailure | None,
        result: Result | None = None,
    ) -> None:
        if slot.attempt is not None and slot.attempt.is_second:
            return
        if failure is not None:
            self._journal.note_failure(slot, failure, "skip_sample", sample_token=token)
        measured = {} if result is None or failure is not None else _measured(result)
        self._journal.tell(slot, "sample", sample_token=token, samples=1, failure=failure, **measured)
        if not self._accounting.note_answer(failure) and failure is not None:
            self._accounting.stop(failure)


def _measured(result: Result) -> dict[str, Any]:
    return {
        "inference_time": result.inference_time,
        "batch": 1 if result.batch is UNSET else result.batch,
        "usage": None if result.usage is UNSET else result.usage,
    }
