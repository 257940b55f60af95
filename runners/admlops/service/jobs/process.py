"""The process of one job: `python -m admlops.service.jobs.process FD`. A runner starts it, and it dies with its runner.

It renews its own lease, for a live runner does not prove that the work is alive. What it is to do comes through a pipe,
for a database's address may hold a password.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import partial
from types import FrameType
from typing import Any

import msgspec

from admlops.core.errors import AdmlopsError, StoppedError
from admlops.core.paths import find_layout
from admlops.execution.cancel import CancelToken
from admlops.service.jobs.endpoints import ENDPOINTS
from admlops.service.jobs.outcome import explain
from admlops.service.jobs.reporter import Reason, Reporter
from admlops.service.jobs.settings import JobSettings, decode_order
from admlops.service.jobs.work import Work
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Job, Status
from admlops.service.queue.jobs import JobQueue
from admlops.worker import parent as parent_link

FINISH_TRIES_S = 120.0
"""How long an answer is offered to a database that is away."""
TRACEBACK_LINES = 30


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What a job's process is to do. `parent` is the runner's process id."""

    settings: JobSettings
    job: str
    owner: str
    attempt: int
    parent: int


class _Stop:
    """Whether the work is to stop, from signals and from the queue. A signal alone comes from a runner that ends."""

    def __init__(self, token: CancelToken) -> None:
        self.token = token
        self.is_asked = False
        self.is_closed = False

    def ask(self) -> None:
        """Ask the main thread to stop, from any other."""
        os.kill(os.getpid(), signal.SIGTERM)

    def handle(self, _number: int, _frame: FrameType | None) -> None:
        """Stop the run, or what goes on without one; do nothing once the work is over, for its answer is on its way."""
        if self.is_closed:
            return
        was_asked, self.is_asked = self.is_asked, True
        if not self.token.cancel() and not was_asked:  # once: what cleans up is not to be interrupted in its turn
            raise KeyboardInterrupt


def main(descriptor: int) -> int:
    """Do the job that the order names; the exit code is 0 where the queue was told how it ended."""
    parent_link.die_with_parent()
    with os.fdopen(descriptor, "rb") as pipe:
        order = decode_order(pipe.read(), Order)
    if os.getppid() != order.parent:
        return 1  # the runner died before the kernel knew that we die with it
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s", stream=sys.stderr)
    queue = JobQueue(open_database(order.settings.database, force=order.settings.force_database))
    job = queue.get(order.job)
    if job is None or (job.owner, job.attempt, job.status) != (order.owner, order.attempt, Status.IN_PROGRESS):
        say("the job is not this process's any more")
        return 0
    return 0 if _do(queue, job, order.settings) else 1


def _do(queue: JobQueue, job: Job, settings: JobSettings) -> bool:
    """Work and tell the queue how it ended; False where it could not be told."""
    stop = _Stop(CancelToken())
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop.handle)
    reporter = Reporter(queue, job, lease_s=settings.lease_s, on_stop=stop.ask)
    answer: Callable[[], bool]
    try:
        reporter.start()
        output = _work(job, settings, reporter, stop.token)
        msgspec.json.encode(output)  # what is no JSON is a defect of the endpoint, found here
        stop.is_closed = True
        answer = partial(queue.finish, job, Status.COMPLETED, output=output)
    except BaseException as error:  # noqa: BLE001  the process's edge: whatever it was, the queue is told
        stop.is_closed = True
        if not isinstance(error, AdmlopsError | KeyboardInterrupt):
            traceback.print_exc()
        answer = _answer_of_error(queue, job, error, reporter.reason, is_stopped=stop.is_asked)
    reporter.end()
    return _tell(answer)


def _work(job: Job, settings: JobSettings, reporter: Reporter, token: CancelToken) -> Mapping[str, Any]:
    layout = find_layout()
    endpoint = ENDPOINTS.get(job.endpoint)
    given = endpoint.decode(job.input)
    endpoint.check(layout, settings, given)
    say(f"{endpoint.id}, attempt {job.attempt} of job {job.id}")
    work = Work(layout=layout, settings=settings, job=job, reports=reporter, say=say, cancel=token)
    return endpoint.work(work, given)


def _answer_of_error(
    queue: JobQueue, job: Job, error: BaseException, reason: Reason | None, *, is_stopped: bool
) -> Callable[[], bool]:
    """Return what the queue is told of work that did not come to its end; what is stopped may fail in any way."""
    if is_stopped or isinstance(error, KeyboardInterrupt | StoppedError):
        say(str(error) or "stopped")
        return _answer_of_stop(queue, job, reason)
    why = explain(error)
    say(f"failed ({why.kind}): {why.message}")
    return partial(queue.finish, job, Status.FAILED, error=why.message, error_class=why.kind, retry=why.retry)


def _answer_of_stop(queue: JobQueue, job: Job, reason: Reason | None) -> Callable[[], bool]:
    """Return what the queue is told of work that was stopped."""
    if reason == "cancel":
        return partial(queue.finish, job, Status.CANCELLED)
    if reason == "timeout":
        error = f"the job took longer than its execution timeout of {job.execution_timeout_s:g} s"
        return partial(queue.finish, job, Status.TIMED_OUT, error=error, error_class="timeout")
    if reason == "lost":
        return lambda: False
    return partial(queue.release, job)


def _tell(answer: Callable[[], bool]) -> bool:
    """Tell the queue, again and again while its database is away."""
    deadline = time.monotonic() + FINISH_TRIES_S
    while True:
        try:
            if not answer():
                say("the job is not this process's any more: its answer was not taken")
        except AdmlopsError as error:
            say(str(error))
            if time.monotonic() > deadline:
                return False
            time.sleep(1.0)
        else:
            return True


def say(line: str) -> None:
    """Write a line into the job's log, with the time."""
    sys.stderr.write(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}Z {line}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
