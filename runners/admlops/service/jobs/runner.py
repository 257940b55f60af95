"""A runner: takes one job after the other from the queue, and sees that each ends."""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time

from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout
from admlops.execution.process import SupervisedProcess
from admlops.service.jobs.child import start_child
from admlops.service.jobs.folders import remove_folder
from admlops.service.jobs.outcome import explain
from admlops.service.jobs.process import Order
from admlops.service.jobs.settings import JobSettings
from admlops.service.queue.backup import Backup
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Job, RunnerState, Status
from admlops.service.queue.jobs import JobQueue

log = logging.getLogger(__name__)

WATCH_S = 0.05
"""How often a job's process is looked at: what a short job costs beside its work."""
LOOK_S = 1.0
"""How often a runner looks for a job whose time has come, and asks whether the one it has is still its own."""
END_S = 2.0
"""How long the process of a job that is not the runner's any more may take to end by itself."""
START_S = 60.0
"""How much longer the first lease is: a job's process renews it once it has started, which takes seconds."""
SEEN_S = 10.0
TIDY_S = 3600.0
PAUSE_S = 5.0
"""How long a runner waits before it asks a database again that did not answer."""


class Runner:
    """Takes jobs and does each in a process of its own, until `stop` is called.

    Several runners, on one machine or on many, may share a queue. One that is killed takes its job's process with it;
    the job's lease ends, and another goes on with it.
    """

    def __init__(self, layout: Layout, settings: JobSettings, *, owner: str | None = None) -> None:
        self.owner = owner or f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
        self._layout = layout
        self._settings = settings
        self._queue = JobQueue(open_database(settings.database, force=settings.force_database, backup=settings.backup))
        self._backup = Backup(self._queue.database.file, settings.backup)
        self._endpoints = settings.endpoints or None
        self._stop = threading.Event()
        self._started = time.time()
        self._seen = self._reaped = self._tidied = float("-inf")

    def stop(self) -> None:
        """Ask the runner to end, from any thread or signal: its job is stopped, and goes back into the queue."""
        self._stop.set()

    def run(self) -> None:
        """Take jobs until `stop`. A database that is away is waited for."""
        cursor: int | None = None
        while not self._stop.is_set():
            try:
                self.tend()
                if not self.step():
                    self._backup.make_if_due()
                    cursor = self._queue.changes(cursor, timeout_s=0 if cursor is None else LOOK_S).cursor
            except AdmlopsError as error:
                log.warning("%s", error)
                self._stop.wait(PAUSE_S)
        self._end()

    def step(self) -> bool:
        """Take one job and do it; False where none is due."""
        job = self._queue.claim(self.owner, self._settings.lease_s + START_S, self._endpoints)
        if job is None:
            return False
        log.info("%s: job %s, attempt %d", job.endpoint, job.id, job.attempt)
        self._tell_seen(job)
        try:
            self._do(job)
        finally:
            self._tell_seen(None)
            self._backup.mark()
        self._backup.make_if_due()
        return True

    def tend(self) -> None:
        """Do what is due of the runner's duties to the queue: say that it is there, reap, remove what is old."""
        now = time.monotonic()
        if now >= self._seen + SEEN_S:
            self._tell_seen(None)
        if now >= self._reaped + min(LOOK_S, self._settings.lease_s / 2):
            self._reaped = now
            self._queue.reap()
        if self._settings.keep_s > 0 and now >= self._tidied + TIDY_S:
            self._tidied = now
            for job_id in self._queue.remove_finished(older_than_s=self._settings.keep_s):
                remove_folder(self._layout, job_id)

    def _do(self, job: Job) -> None:
        order = Order(settings=self._settings, job=job.id, owner=self.owner, attempt=job.attempt, parent=os.getpid())
        try:
            child = start_child(self._layout, order, job.endpoint)
        except AdmlopsError as error:
            why = explain(error)
            self._queue.finish(job, Status.FAILED, error=why.message, error_class=why.kind, retry=why.retry)
            return
        try:
            status = self._watch(job, child)
        finally:
            code = child.stop(grace_s=0.0).exit_code  # what the job has started and left, too
        if status is not None:
            self._answer(job, status)
        elif code != 0 and self._stop.is_set():
            self._queue.release(job)
        elif code != 0:
            self._answer_death(job, child, code)

    def _watch(self, job: Job, child: SupervisedProcess) -> Status | None:
        """Wait for the end of a job's process; return what became of a job that was stopped by force, else None."""
        deadline: float | None = None
        wanted: Status | None = None
        begun = looked = time.monotonic()
        while child.wait(WATCH_S) is None:
            now = time.monotonic()
            if self._stop.is_set() and deadline is None:
                child.terminate()
                deadline = now + self._settings.grace_s
            if now >= looked + LOOK_S:
                looked = now
                child.has_said_more()  # which keeps the log within its limit
                self._tend_quietly(job)
                now_is = self._look(job)
                if now_is is None:
                    if child.wait(END_S) is None:  # it may have just said how it ended
                        log.warning("job %s is not this runner's any more: its process is killed", job.id)
                    return None
                wanted = _wanted(now_is, now - begun)
                if wanted is not None and deadline is None:
                    deadline = now + self._settings.grace_s
            if deadline is not None and now >= deadline:
                log.warning("job %s did not stop within %g s: its process is killed", job.id, self._settings.grace_s)
                return wanted or Status.IN_QUEUE
        return None

    def _look(self, job: Job) -> Job | None:
        """Return the job as it stands, None where it is not this attempt's any more."""
        try:
            found = self._queue.get(job.id)
        except AdmlopsError as error:
            log.warning("%s", error)
            return job
        if found is None or (found.owner, found.attempt) != (job.owner, job.attempt):
            return None
        return found

    def _answer(self, job: Job, status: Status) -> None:
        """Tell the queue of a job that had to be killed."""
        if status is Status.IN_QUEUE:
            self._queue.release(job)
        elif status is Status.CANCELLED:
            self._queue.finish(job, status)
        else:
            error = f"the job took longer than its execution timeout of {job.execution_timeout_s:g} s"
            self._queue.finish(job, status, error=error, error_class="timeout")

    def _answer_death(self, job: Job, child: SupervisedProcess, code: int | None) -> None:
        """Tell the queue of a process that ended without telling itself; nothing if the job was another's already."""
        number = 0 if code is None else code
        signal_name = child.signal_name(number)
        for_memory = child.was_killed_for_memory(number)
        how = "for want of memory" if for_memory else f"by {signal_name}" if signal_name else f"with code {code}"
        log.warning("job %s: its process was ended %s", job.id, how)
        self._queue.finish(
            job,
            Status.FAILED,
            error=f"the job's process was ended {how}\n{child.log_tail()}",
            error_class="host_oom" if for_memory else "crash",
            retry=True,
        )

    def _tend_quietly(self, job: Job) -> None:
        try:
            if time.monotonic() >= self._seen + SEEN_S:
                self._tell_seen(job)
            self._queue.reap()
        except AdmlopsError as error:
            log.warning("%s", error)

    def _tell_seen(self, job: Job | None) -> None:
        self._seen = time.monotonic()
        self._queue.runner_seen(
            RunnerState(
                owner=self.owner,
                host=socket.gethostname(),
                pid=os.getpid(),
                endpoints=tuple(self._endpoints or ()),
                job=None if job is None else job.id,
                started=self._started,
                seen=time.time(),
            )
        )

    def _end(self) -> None:
        try:
            self._queue.runner_gone(self.owner)
            self._backup.make_if_due(at_once=True)
        except AdmlopsError as error:
            log.warning("%s", error)
        self._queue.database.close()


def _wanted(job: Job, taken_s: float) -> Status | None:
    """Return how a job that is to be stopped is to end; its process knows as well and has its grace."""
    if job.cancel:
        return Status.CANCELLED
    return Status.TIMED_OUT if taken_s > job.execution_timeout_s else None
