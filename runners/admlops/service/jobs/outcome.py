"""How a job ends: which failures are tried again, and what is said of them."""

from __future__ import annotations

from dataclasses import dataclass

from admlops.core.errors import AdmlopsError, DownloadError, EnvError, StoppedError, StorageError
from admlops.execution.scene_job import Summary
from admlops.results.run_folder import RunFolder

RETRIED_FAILURES = frozenset({"crash", "hang", "poisoned", "lost", "host_oom", "cuda_oom"})
"""Failure classes that another time may not meet: the machine was full, a GPU lost its context."""
RETRIED_ERRORS = (DownloadError, EnvError, StorageError)
CANCELLED = "cancelled"
DEFECT = "defect"


class JobFailedError(AdmlopsError):
    """The work began and failed; `kind` is the class of the failure."""

    exit_code = 1

    def __init__(self, message: str, *, hint: str, kind: str) -> None:
        super().__init__(message, hint=hint)
        self.kind = kind


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Why a job failed, and whether to try it again."""

    kind: str
    message: str
    retry: bool


def require_complete(run: RunFolder, summary: Summary) -> None:
    """Return if the run is complete, with failed samples or without.

    Raises:
        StoppedError: it was cancelled.
        JobFailedError: a failure stopped it.
    """
    if summary.state == "complete":
        return
    failure = summary.stopped_by
    if summary.state == "cancelled" or failure is None or failure.kind == CANCELLED:
        raise StoppedError(f"{run.header.run} was stopped", hint="retry the job: whole scenes stay")
    raise JobFailedError(
        f"{run.header.run}: {failure.summary}",
        hint=f"{failure.hint}; see logs/ in the run's folder",
        kind=failure.kind,
    )


def explain(error: BaseException) -> Outcome:
    """Return what an error that ended a job means."""
    if isinstance(error, JobFailedError):
        return Outcome(kind=error.kind, message=str(error), retry=error.kind in RETRIED_FAILURES)
    if isinstance(error, AdmlopsError):
        kind = type(error).__name__.removesuffix("Error")
        return Outcome(kind=kind, message=str(error), retry=isinstance(error, RETRIED_ERRORS))
    return Outcome(kind=DEFECT, message=f"{type(error).__name__}: {error}", retry=True)
