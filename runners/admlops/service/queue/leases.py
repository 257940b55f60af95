"""What workers do with jobs: take one, say that they still work, answer. Every answer is checked against the lease."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Double,
    String,
    and_,
    bindparam,
    case,
    literal_column,
    not_,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.sql.dml import ReturningUpdate

from admlops.service.queue.database import Database
from admlops.service.queue.job import Beat, Job, Status, to_job
from admlops.service.queue.store import Store, clean
from admlops.service.queue.tables import CHUNKS, JOBS

OVERTIME_S = 60.0
"""How long after a job's execution timeout its owner may take to stop it, before the queue itself ends the job."""
MAX_BACK_OFF_S = 3600.0
LOST = "worker_lost"
TIMED_OUT = "timeout"
EXPIRED = "ttl"


class Reaped(msgspec.Struct, frozen=True, kw_only=True):
    """How many jobs were taken from owners that are gone, and how many have waited for too long."""

    requeued: int = 0
    failed: int = 0
    cancelled: int = 0
    timed_out: int = 0
    expired: int = 0


class Leases(Store):
    """The side of the queue that workers see.

    The statements of a job's usual course are built once: building one costs more than executing it.
    """

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._claims: dict[tuple[str, ...] | None, ReturningUpdate[Any]] = {}
        late = self.clocked - JOBS.c.started > JOBS.c.execution_timeout_s
        self._beat = (
            update(JOBS)
            .where(*FENCE)
            .values(lease_until=self.clocked + bindparam("at_lease_s", type_=Double))
            .returning(JOBS.c.cancel, case((late, True), else_=False).label("late"))
        )
        said = {name: bindparam(f"at_{name}", type_=String) for name in ("error", "error_class", "output")}
        self._end = update(JOBS).where(*FENCE).values(**self.ended(bindparam("at_status"), self.clocked) | said)

    def claim(self, owner: str, lease_s: float, endpoints: Sequence[str] | None = None) -> Job | None:
        """Take the next job: of the highest priority, then the first that came.

        Args:
            owner: who takes it, unique among all that work at the same time.
            lease_s: how long the job stays the owner's without a `beat` [s].
            endpoints: only jobs of these; None for all.

        Returns:
            The job, or None where none is due.
        """
        wanted = None if endpoints is None else tuple(endpoints)
        if wanted not in self._claims:
            self._claims[wanted] = self._make_claim(wanted)
        with self.database.write() as connection:
            given = {"at_owner": owner, "at_lease_s": lease_s, **self.clock()}
            row = connection.execute(self._claims[wanted], given).mappings().first()
        return None if row is None else to_job(dict(row))

    def _make_claim(self, endpoints: tuple[str, ...] | None) -> ReturningUpdate[Any]:
        now = self.clocked
        due = [IS_WAITING, JOBS.c.run_after <= now, JOBS.c.expires > now]
        if endpoints is not None:  # as an expression, or the index of endpoints is taken and all that wait are sorted
            due.append(JOBS.c.endpoint.concat("").in_(endpoints))
        order = (JOBS.c.low_priority, JOBS.c.priority.desc(), JOBS.c.number)
        first = select(JOBS.c.number).where(*due).order_by(*order).limit(1).with_for_update(skip_locked=True)
        return (
            update(JOBS)
            .where(JOBS.c.number == first.scalar_subquery())
            .values(
                status=Status.IN_PROGRESS,
                owner=bindparam("at_owner", type_=String),
                attempt=JOBS.c.attempt + 1,
                started=now,
                finished=None,
                lease_until=now + bindparam("at_lease_s", type_=Double),
                progress=None,
                cancel=False,
                changed=self.next_change(),
            )
            .returning(JOBS)
        )

    def beat(self, job: Job, lease_s: float) -> Beat:
        """Say that the owner still works, which extends the lease; learn whether it should go on."""
        with self.database.write() as connection:
            given = {"at_lease_s": lease_s, **fence_of(job), **self.clock()}
            row = connection.execute(self._beat, given).first()
        return Beat(lost=True) if row is None else Beat(cancel=bool(row.cancel), timed_out=bool(row.late))

    def progress(self, job: Job, value: Any) -> bool:
        """Say how far the job is, in any JSON value; False where the job is not the owner's any more."""
        statement = update(JOBS).where(*fence(job)).values(progress=encode(value), changed=self.next_change())
        with self.database.write() as connection:
            return connection.execute(statement).rowcount == 1

    def add_chunk(self, job: Job, content: Any, *, key: str | None = None) -> bool:
        """Add a part of the answer; False where the job is not the owner's any more.

        Args:
            key: what the part is of, such as the scene's name. A later attempt that makes it again adds nothing.
        """
        return self.add_chunks(job, [(key, content)])

    def add_chunks(self, job: Job, chunks: Sequence[tuple[str | None, Any]]) -> bool:
        """Add several parts at once, each with its key; see `add_chunk`."""
        rows = [
            {"job": job.id, "key": key or self.new_key(), "content": encode(content), "taken": False}
            for key, content in chunks
        ]
        insert = sqlite.insert(CHUNKS) if self.database.is_sqlite else postgresql.insert(CHUNKS)
        with self.database.write() as connection:
            mine = update(JOBS).where(*fence(job)).values(changed=self.next_change())
            if connection.execute(mine).rowcount != 1:
                return False
            connection.execute(insert.on_conflict_do_nothing(index_elements=["job", "key"]), rows)
        return True

    def release(self, job: Job) -> bool:
        """Give back a job that could have gone on, because its runner ends: the attempt does not count.

        Returns:
            False where the job is not the owner's any more.
        """
        now = self.now()
        values = self.back_in_queue(now) | {
            "run_after": now,
            "expires": now + JOBS.c.ttl_s,
            "last_attempt": JOBS.c.last_attempt + 1,
        }
        with self.database.write() as connection:
            return connection.execute(update(JOBS).where(*fence(job)).values(**values)).rowcount == 1

    def finish(
        self,
        job: Job,
        status: Status,
        *,
        output: Any = None,
        error: str | None = None,
        error_class: str | None = None,
        retry: bool = False,
    ) -> bool:
        """End an attempt.

        Args:
            status: COMPLETED, FAILED, CANCELLED or TIMED_OUT.
            retry: where it is FAILED, put it back into the queue if attempts are left, to run after 2^attempt seconds;
                one that was to be cancelled is CANCELLED.

        Returns:
            False where the job is not the owner's any more: a late answer changes nothing.
        """
        if not status.is_final:
            raise ValueError(f"{status} is not the end of a job")
        said = {"error": clean(error), "error_class": clean(error_class)}
        if retry and status is Status.FAILED:
            return self._try_again(job, said)
        given = {f"at_{name}": text for name, text in said.items()}
        given |= {"at_status": status, "at_output": None if output is None else encode(output)}
        with self.database.write() as connection:
            return connection.execute(self._end, given | fence_of(job) | self.clock()).rowcount == 1

    def _try_again(self, job: Job, said: Mapping[str, str | None]) -> bool:
        with self.database.write() as connection:
            now = self.now()
            held = select(JOBS.c.last_attempt, JOBS.c.cancel).where(*fence(job)).with_for_update()
            row = connection.execute(held).first()
            if row is None:
                return False
            if row.cancel:
                values = self.ended(Status.CANCELLED, now)
            elif job.attempt < row.last_attempt:
                values = self.back_in_queue(now)
            else:
                values = self.ended(Status.FAILED, now)
            connection.execute(update(JOBS).where(JOBS.c.number == job.number).values(**values, **said))
        return True

    def reap(self) -> Reaped:
        """End or requeue the jobs whose owners are gone, and end those that have waited longer than their `ttl_s`."""
        now = self.now()
        # The server's clock goes on between the statements: a lease may end after the first of them. So each says by
        # itself which jobs are its own, or one that could be tried again would be failed.
        is_lost = and_(IS_RUNNING, JOBS.c.lease_until <= now)
        goes_on = and_(is_lost, JOBS.c.cancel.is_(False))
        too_long = and_(IS_RUNNING, now - JOBS.c.started > JOBS.c.execution_timeout_s + OVERTIME_S)
        may_retry = JOBS.c.attempt < JOBS.c.last_attempt
        lost = {"error": "the process that did the job ended or stopped answering", "error_class": LOST}
        with self.database.write() as connection:
            if not self.change_many(connection, wait=False):
                return Reaped()  # another does it
            return Reaped(
                timed_out=self._move(
                    connection,
                    too_long,
                    self.ended(Status.TIMED_OUT, now)
                    | {"error": "the job took longer than its execution timeout", "error_class": TIMED_OUT},
                ),
                cancelled=self._move(connection, and_(is_lost, JOBS.c.cancel), self.ended(Status.CANCELLED, now)),
                requeued=self._move(connection, and_(goes_on, may_retry), self.back_in_queue(now) | lost),
                failed=self._move(connection, and_(goes_on, not_(may_retry)), self.ended(Status.FAILED, now) | lost),
                expired=self._move(
                    connection,
                    and_(IS_WAITING, JOBS.c.expires <= now),
                    self.ended(Status.TIMED_OUT, now)
                    | {"error": "no worker took the job within its time to live", "error_class": EXPIRED},
                ),
            )

    def back_in_queue(self, now: ColumnElement[float]) -> dict[str, Any]:
        """Return the values of a job that waits for its next attempt."""
        wait = case(*((JOBS.c.attempt == attempt, float(2**attempt)) for attempt in range(1, 12)), else_=MAX_BACK_OFF_S)
        return {
            "status": Status.IN_QUEUE,
            "run_after": now + wait,
            "expires": now + wait + JOBS.c.ttl_s,
            "owner": None,
            "lease_until": None,
            "changed": self.next_change(),
        }

    def ended(self, status: Status | ColumnElement[str], now: ColumnElement[float]) -> dict[str, Any]:
        """Return the values of a job that has ended; a webhook is due at once."""
        return {
            "status": status,
            "finished": now,
            "lease_until": None,
            "webhook_due": case((JOBS.c.webhook.is_not(None), now)),
            "webhook_tries": 0,
            "changed": self.next_change(),
        }

    @staticmethod
    def _move(connection: Connection, which: ColumnElement[bool], values: Mapping[str, Any]) -> int:
        return connection.execute(update(JOBS).where(or_(which)).values(**values)).rowcount


# written out, for a partial index is only used where the statement says what the index says
IS_WAITING = JOBS.c.status == literal_column(f"'{Status.IN_QUEUE}'")
IS_RUNNING = JOBS.c.status == literal_column(f"'{Status.IN_PROGRESS}'")
FENCE = (
    JOBS.c.number == bindparam("at_number"),
    JOBS.c.owner == bindparam("at_owner"),
    JOBS.c.attempt == bindparam("at_attempt"),
    JOBS.c.status == Status.IN_PROGRESS,
)
"""As `fence`, for a statement that is made once; `fence_of` gives the values."""


def fence_of(job: Job) -> dict[str, Any]:
    """Return the values of `FENCE`."""
    return {"at_number": job.number, "at_owner": job.owner, "at_attempt": job.attempt}


def fence(job: Job) -> tuple[ColumnElement[bool], ...]:
    """Return what must hold for a job to be still its owner's."""
    return (
        JOBS.c.number == job.number,
        JOBS.c.owner == job.owner,
        JOBS.c.attempt == job.attempt,
        JOBS.c.status == Status.IN_PROGRESS,
    )


def encode(value: Any) -> str:
    """Return a JSON value as text."""
    return msgspec.json.encode(value).decode()
