"""What a job is, and its states, which are RunPod's."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import uuid4

import msgspec

DAY_S = 86400.0
DEFAULT_EXECUTION_TIMEOUT_S = DAY_S
DEFAULT_TTL_S = DAY_S
DEFAULT_MAX_ATTEMPTS = 3


class Status(StrEnum):
    """Where a job stands. The last four are final."""

    IN_QUEUE = "IN_QUEUE"
    IN_PROGRESS = "IN_PROGRESS"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def is_final(self) -> bool:
        """Whether the job has ended."""
        return self in FINAL


FINAL = frozenset((Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.TIMED_OUT))


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """A job as it stood when it was read.

    Attributes:
        id: ends in `-u1`, as RunPod's; that of a synchronous request begins with `sync-`.
        output: what the job answered; None before it is COMPLETED.
        error: why it is FAILED or TIMED_OUT, for a person; `error_class` names the class of the failure.
        progress: what the job last said of itself.
        attempt: how often it was taken from the queue.
        created: when it was submitted, `started`: when its latest attempt began, `finished` [s since 1970].
        run_after: not to be taken before this time [s since 1970].
        owner: who works on it, or worked on it last.
        lease_until: the owner must say before this time that it still works [s since 1970].
        cancel: somebody asked to cancel it while it was in progress.
        changed: grows with every change of any job.
    """

    number: int
    id: str
    endpoint: str
    status: Status
    input: Any
    output: Any = None
    error: str | None = None
    error_class: str | None = None
    progress: Any = None
    priority: int = 0
    low_priority: bool = False
    attempt: int = 0
    last_attempt: int = DEFAULT_MAX_ATTEMPTS
    max_attempts: int = DEFAULT_MAX_ATTEMPTS
    execution_timeout_s: float = DEFAULT_EXECUTION_TIMEOUT_S
    ttl_s: float = DEFAULT_TTL_S
    webhook: str | None = None
    webhook_due: float | None = None
    webhook_tries: int = 0
    requested_by: str | None = None
    created: float
    run_after: float
    expires: float
    started: float | None = None
    finished: float | None = None
    owner: str | None = None
    lease_until: float | None = None
    cancel: bool = False
    changed: int = 0

    @property
    def delay_s(self) -> float | None:
        """How long it waited before its latest attempt [s]; None before the first."""
        return None if self.started is None else max(0.0, self.started - self.created)

    @property
    def execution_s(self) -> float | None:
        """How long its latest attempt took [s]; None before its end."""
        if self.started is None or self.finished is None:
            return None
        return max(0.0, self.finished - self.started)


class Chunk(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a job's answer that came before its end; `number` grows."""

    number: int
    content: Any


class Beat(msgspec.Struct, frozen=True, kw_only=True):
    """What the queue answers to an owner that still works.

    Attributes:
        lost: the job is not the owner's any more. It must stop, and nothing it sends will be taken.
        cancel: somebody asked to cancel the job.
        timed_out: the attempt has taken longer than the job's execution timeout.
    """

    lost: bool = False
    cancel: bool = False
    timed_out: bool = False


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs stand where; `retried` counts those that were taken more than once."""

    in_queue: int = 0
    in_progress: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    retried: int = 0


class JobFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which jobs to list; an empty field takes all."""

    endpoint: str | None = None
    statuses: tuple[Status, ...] = ()
    requested_by: str | None = None


class Changes(msgspec.Struct, frozen=True, kw_only=True):
    """The jobs that changed, the latest change last; pass `cursor` to the next wait."""

    cursor: int
    ids: tuple[str, ...] = ()


class RunnerState(msgspec.Struct, frozen=True, kw_only=True):
    """A process that takes jobs. `job` is the one it works on; `seen` is when it last said so [s since 1970]."""

    owner: str
    host: str
    pid: int
    endpoints: tuple[str, ...]
    job: str | None
    started: float
    seen: float


def new_job_id(*, sync: bool = False) -> str:
    """Return an id of RunPod's form."""
    return f"{'sync-' if sync else ''}{uuid4()}-u1"


def to_job(row: Mapping[str, Any]) -> Job:
    """Return a row of the table as a job."""
    values = dict(row)
    for name in ("input", "output", "progress"):
        values[name] = None if values[name] is None else msgspec.json.decode(values[name])
    values["status"] = Status(values["status"])
    return Job(**values)
