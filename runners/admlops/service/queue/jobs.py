"""The queue of jobs, as those who submit and watch them see it; `leases.py` has what workers do."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, case, delete, func, insert, select, update

from admlops.service.queue.changes import ChangeWaiter
from admlops.service.queue.database import Database
from admlops.service.queue.job import (
    DEFAULT_EXECUTION_TIMEOUT_S,
    DEFAULT_MAX_ATTEMPTS,
    DEFAULT_TTL_S,
    FINAL,
    Changes,
    Chunk,
    Counts,
    Job,
    JobFilter,
    RunnerState,
    Status,
    new_job_id,
    to_job,
)
from admlops.service.queue.leases import Leases, encode
from admlops.service.queue.tables import CHUNKS, JOBS, RUNNERS

WEBHOOK_TRIES = 3
WEBHOOK_PAUSE_S = 10.0


class JobQueue(Leases):
    """All jobs of a database. Its methods may be called by any thread; each is one transaction."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self._waiter = ChangeWaiter(self)

    def submit(
        self,
        endpoint: str,
        input: Any,  # noqa: A002  RunPod's name of it
        *,
        priority: int = 0,
        execution_timeout_s: float = DEFAULT_EXECUTION_TIMEOUT_S,
        ttl_s: float = DEFAULT_TTL_S,
        webhook: str | None = None,
        max_attempts: int = DEFAULT_MAX_ATTEMPTS,
        low_priority: bool = False,
        requested_by: str | None = None,
        sync: bool = False,
    ) -> Job:
        """Put a job into the queue. Nothing of the input is checked here (`service.jobs.inputs` does).

        Args:
            priority: greater is sooner.
            execution_timeout_s: how long one attempt may take [s].
            ttl_s: how long it may wait in the queue before it is TIMED_OUT [s].
            webhook: the address that gets the job's status at its end.
            max_attempts: how often it is begun at most.
            low_priority: after all jobs that are not, whatever their priority.
            sync: the id says that the request waits for the answer.
        """
        now = self.now()
        values = {
            "id": new_job_id(sync=sync),
            "endpoint": endpoint,
            "status": Status.IN_QUEUE,
            "input": encode(input),
            "priority": priority,
            "low_priority": low_priority,
            "attempt": 0,
            "last_attempt": max_attempts,
            "max_attempts": max_attempts,
            "execution_timeout_s": execution_timeout_s,
            "ttl_s": ttl_s,
            "webhook": webhook,
            "webhook_tries": 0,
            "requested_by": requested_by,
            "created": now,
            "run_after": now,
            "expires": now + ttl_s,
            "cancel": False,
            "changed": self.next_change(),
        }
        with self.database.write() as connection:
            row = connection.execute(insert(JOBS).values(**values).returning(JOBS)).mappings().one()
        return to_job(dict(row))

    def get(self, job_id: str) -> Job | None:
        """Return a job, or None where there is none of that id."""
        with self.database.read() as connection:
            row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
        return None if row is None else to_job(dict(row))

    def list(self, filters: JobFilter | None = None, *, limit: int = 50, before: int | None = None) -> Sequence[Job]:
        """List jobs, the latest first.

        Args:
            before: only jobs that came before the one of this `number`: the last of the page before.
        """
        wanted = filters or JobFilter()
        conditions: list[ColumnElement[bool]] = []
        if wanted.endpoint is not None:
            conditions.append(JOBS.c.endpoint == wanted.endpoint)
        if wanted.statuses:
            conditions.append(JOBS.c.status.in_(wanted.statuses))
        if wanted.requested_by is not None:
            conditions.append(JOBS.c.requested_by == wanted.requested_by)
        if before is not None:
            conditions.append(JOBS.c.number < before)
        statement = select(JOBS).where(*conditions).order_by(JOBS.c.number.desc()).limit(limit)
        with self.database.read() as connection:
            return [to_job(dict(row)) for row in connection.execute(statement).mappings()]

    def counts(self, endpoint: str | None = None) -> Counts:
        """Count the jobs of an endpoint, or of all."""
        again = func.sum(case((JOBS.c.attempt > 1, 1), else_=0))
        statement = select(JOBS.c.status, func.count(), again).group_by(JOBS.c.status)
        if endpoint is not None:
            statement = statement.where(JOBS.c.endpoint == endpoint)
        with self.database.read() as connection:
            rows = connection.execute(statement).all()
        return Counts(
            **{str(status).lower(): int(count) for status, count, _ in rows}, retried=sum(row[2] for row in rows)
        )

    def cancel(self, job_id: str) -> Job | None:
        """Cancel a job: one in the queue at once, one in progress when its owner has stopped it (`Job.cancel`).

        Returns:
            The job as it stands then; None where there is none. One that has ended stays as it is.
        """
        now = self.now()
        mine = JOBS.c.id == job_id
        with self.database.write() as connection:
            waiting = update(JOBS).where(mine, JOBS.c.status == Status.IN_QUEUE)
            connection.execute(waiting.values(**self.ended(Status.CANCELLED, now)))
            running = update(JOBS).where(mine, JOBS.c.status == Status.IN_PROGRESS)
            connection.execute(running.values(cancel=True, changed=self.next_change()))
            row = connection.execute(select(JOBS).where(mine)).mappings().first()
        return None if row is None else to_job(dict(row))

    def retry(self, job_id: str) -> Job | None:
        """Put a job that FAILED, TIMED_OUT or was CANCELLED back into the queue, under its id, with all its attempts.

        Returns:
            The job as it stands then; None where there is none. Any other job stays as it is: look at its status.
        """
        now = self.now()
        again = (Status.FAILED, Status.TIMED_OUT, Status.CANCELLED)
        values = self.back_in_queue(now) | {
            "run_after": now,
            "expires": now + JOBS.c.ttl_s,
            "last_attempt": JOBS.c.attempt + JOBS.c.max_attempts,
            "finished": None,
            "error": None,
            "error_class": None,
            "webhook_due": None,
            "cancel": False,
        }
        with self.database.write() as connection:
            connection.execute(update(JOBS).where(JOBS.c.id == job_id, JOBS.c.status.in_(again)).values(**values))
            row = connection.execute(select(JOBS).where(JOBS.c.id == job_id)).mappings().first()
        return None if row is None else to_job(dict(row))

    def purge(self, endpoint: str | None = None) -> int:
        """Cancel all jobs of an endpoint that wait in the queue, and say how many; those in progress go on."""
        statement = update(JOBS).where(JOBS.c.status == Status.IN_QUEUE)
        if endpoint is not None:
            statement = statement.where(JOBS.c.endpoint == endpoint)
        with self.database.write() as connection:
            self.change_many(connection)
            return connection.execute(statement.values(**self.ended(Status.CANCELLED, self.now()))).rowcount

    def take_chunks(self, job_id: str) -> Sequence[Chunk]:
        """Return the chunks that nobody has taken yet, in their order: each is given once.

        Read the job's status before: a chunk that comes between is then not lost.
        """
        left = (CHUNKS.c.job == job_id, CHUNKS.c.taken.is_(False))
        with self.database.read() as connection:  # who waits for a job asks often, and a look needs no lock
            if connection.execute(select(CHUNKS.c.number).where(*left).limit(1)).first() is None:
                return []
        statement = update(CHUNKS).where(*left).values(taken=True).returning(CHUNKS.c.number, CHUNKS.c.content)
        with self.database.write() as connection:
            return _to_chunks(connection.execute(statement).all())

    def chunks_after(self, job_id: str, number: int = 0) -> Sequence[Chunk]:
        """Return the chunks after a number, taken or not, in their order; nothing is consumed."""
        statement = select(CHUNKS.c.number, CHUNKS.c.content).where(CHUNKS.c.job == job_id, CHUNKS.c.number > number)
        with self.database.read() as connection:
            return _to_chunks(connection.execute(statement).all())

    def changes(self, since: int | None = None, *, timeout_s: float = 0.0) -> Changes:
        """Wait until a job changes, and say which did.

        Args:
            since: the cursor of the last call; None returns at once with the cursor of now and no jobs.
            timeout_s: how long to wait [s]; then nothing changed, and the cursor is the same.
        """
        return self._waiter.wait(since, timeout_s)

    def remove_finished(self, *, older_than_s: float) -> Sequence[str]:
        """Remove jobs that ended longer ago, with their chunks, and return their ids. Runs' folders stay."""
        old = (JOBS.c.status.in_(FINAL), JOBS.c.finished < self.now() - older_than_s, JOBS.c.webhook_due.is_(None))
        with self.database.write() as connection:
            self.change_many(connection)
            return list(connection.execute(delete(JOBS).where(*old).returning(JOBS.c.id)).scalars())

    def claim_webhook(self) -> Job | None:
        """Take a job whose webhook is due, and count the try; call `webhook_delivered` once it was answered with 200.

        Without that it is due again after 10 s, three times in all.
        """
        now = self.now()
        first = (
            select(JOBS.c.number)
            .where(JOBS.c.webhook_due <= now)
            .order_by(JOBS.c.webhook_due)
            .limit(1)
            .with_for_update(skip_locked=True)
        )
        due_again = case((JOBS.c.webhook_tries + 1 < WEBHOOK_TRIES, now + WEBHOOK_PAUSE_S))
        statement = (
            update(JOBS)
            .where(JOBS.c.number == first.scalar_subquery())
            .values(webhook_tries=JOBS.c.webhook_tries + 1, webhook_due=due_again)
            .returning(JOBS)
        )
        with self.database.write() as connection:
            row = connection.execute(statement).mappings().first()
        return None if row is None else to_job(dict(row))

    def webhook_delivered(self, job: Job) -> None:
        """Say that the webhook took the job's status."""
        statement = update(JOBS).where(JOBS.c.number == job.number).values(webhook_due=None)
        with self.database.write() as connection:
            connection.execute(statement)

    def runner_seen(self, runner: RunnerState) -> None:
        """Write down that a runner is there, and what it works on; `seen` is set to now."""
        values = {
            "host": runner.host,
            "pid": runner.pid,
            "endpoints": encode(runner.endpoints),
            "job": runner.job,
            "started": runner.started,
            "seen": time.time(),
        }
        with self.database.write() as connection:
            known = update(RUNNERS).where(RUNNERS.c.owner == runner.owner).values(**values)
            if connection.execute(known).rowcount == 0:
                connection.execute(insert(RUNNERS).values(owner=runner.owner, **values))

    def runner_gone(self, owner: str) -> None:
        """Write down that a runner has ended."""
        with self.database.write() as connection:
            connection.execute(delete(RUNNERS).where(RUNNERS.c.owner == owner))

    def runners(self, *, within_s: float = 60.0) -> Sequence[RunnerState]:
        """List the runners that were seen lately."""
        statement = select(RUNNERS).where(RUNNERS.c.seen > time.time() - within_s).order_by(RUNNERS.c.started)
        with self.database.read() as connection:
            rows = connection.execute(statement).mappings().all()
        return [_to_runner(dict(row)) for row in rows]


def _to_chunks(rows: Sequence[Any]) -> Sequence[Chunk]:
    return [Chunk(number=number, content=msgspec.json.decode(content)) for number, content in sorted(rows)]


def _to_runner(row: dict[str, Any]) -> RunnerState:
    return RunnerState(**{**row, "endpoints": tuple(msgspec.json.decode(row["endpoints"]))})
