"""The queue on both databases: order, leases, ends of jobs, and who hears of them."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import ColumnElement, Connection, event, update
from tests.service.queue.postgres import Cluster

from admlops.core.errors import StorageError, UsageError
from admlops.service.queue import database as databases
from admlops.service.queue.database import open_database
from admlops.service.queue.job import Job, JobFilter, RunnerState, Status
from admlops.service.queue.jobs import JobQueue
from admlops.service.queue.tables import JOBS


def claim(queue: JobQueue, owner: str = "me", lease_s: float = 60.0) -> Job:
    job = queue.claim(owner, lease_s)
    assert job is not None
    return job


def shift(queue: JobQueue, job: Job, **columns: float) -> None:
    """Let time pass for one job: move its times into the past by so many seconds."""
    with queue.database.write() as connection:
        moved = {name: JOBS.c[name] - seconds for name, seconds in columns.items()}
        connection.execute(update(JOBS).where(JOBS.c.number == job.number).values(**moved))


def read(queue: JobQueue, job: Job) -> Job:
    found = queue.get(job.id)
    assert found is not None
    return found


def test_a_job_keeps_what_it_was_submitted_with(queue: JobQueue) -> None:
    given = {"model": "GroundPlane", "words": "naïve \u0000 🚗", "none": None, "deep": [{"x": 1.5}]}
    job = queue.submit("run", given, priority=3, webhook="https://a.example/x", requested_by="me", sync=True)
    assert job.id.startswith("sync-")
    assert job.id.endswith("-u1")
    assert job.input == given
    assert (job.status, job.attempt, job.priority) == (Status.IN_QUEUE, 0, 3)
    assert abs(job.created - time.time()) < 60
    assert read(queue, job) == job
    assert queue.get("no-such-u1") is None


def test_priority_goes_before_arrival_and_low_priority_last(queue: JobQueue) -> None:
    low = queue.submit("run", {}, low_priority=True, priority=100)
    first = queue.submit("run", {})
    second = queue.submit("run", {})
    urgent = queue.submit("compare", {}, priority=5)
    assert [claim(queue).id for _ in range(4)] == [urgent.id, first.id, second.id, low.id]
    assert queue.claim("me", 60) is None


def test_a_worker_gets_jobs_of_its_endpoints_alone(queue: JobQueue) -> None:
    queue.submit("run", {})
    mine = queue.submit("export", {})
    got = queue.claim("me", 60, ["export", "battle"])
    assert got is not None
    assert got.id == mine.id
    assert queue.claim("me", 60, ["export"]) is None


def test_no_job_is_given_to_two(queue: JobQueue) -> None:
    ids = {queue.submit("run", {"n": n}).id for n in range(40)}

    def take(owner: str) -> list[str]:
        taken = []
        while (job := queue.claim(owner, 60)) is not None:
            taken.append(job.id)
        return taken

    with ThreadPoolExecutor(8) as pool:
        taken = [one for part in pool.map(take, [f"worker-{n}" for n in range(8)]) for one in part]
    assert sorted(taken) == sorted(ids)


def test_an_answer_after_the_lease_changes_nothing(queue: JobQueue) -> None:
    queue.submit("run", {})
    early = claim(queue, "first", lease_s=0.0)
    assert queue.reap().requeued == 1
    assert queue.beat(early, 60).lost
    shift(queue, early, run_after=10)
    late = claim(queue, "second")
    assert late.attempt == 2
    assert not queue.finish(early, Status.COMPLETED, output={"of": "first"})
    assert not queue.progress(early, {"x": 1})
    assert not queue.add_chunk(early, {"scene": "a"})
    assert not queue.release(early)
    assert queue.finish(late, Status.COMPLETED, output={"of": "second"})
    assert read(queue, late).output == {"of": "second"}
    assert not queue.finish(late, Status.FAILED, error="again")
    assert read(queue, late).status is Status.COMPLETED


def test_a_lease_that_ends_while_the_lost_are_looked_for_costs_one_attempt(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL's clock goes on from statement to statement, so the lease ends between two of them."""
    queue.submit("run", {}, max_attempts=3)
    job = claim(queue, lease_s=0.3)
    move = queue._move

    def slowly(connection: Connection, which: ColumnElement[bool], values: Mapping[str, Any]) -> int:
        time.sleep(0.4 if values["status"] is Status.FAILED else 0.0)
        return move(connection, which, values)

    monkeypatch.setattr(queue, "_move", slowly)
    assert queue.reap().failed == 0
    assert queue.reap().requeued == 1
    assert read(queue, job).status is Status.IN_QUEUE


def test_the_same_owner_cannot_answer_for_an_earlier_attempt(queue: JobQueue) -> None:
    queue.submit("run", {})
    early = claim(queue, "me", lease_s=0.0)
    queue.reap()
    shift(queue, early, run_after=10)
    assert claim(queue, "me").attempt == 2
    assert not queue.finish(early, Status.COMPLETED)


def test_a_beat_extends_the_lease(queue: JobQueue) -> None:
    queue.submit("run", {})
    job = claim(queue, lease_s=0.0)
    assert not queue.beat(job, 60).lost
    assert queue.reap().requeued == 0


def test_a_job_is_tried_again_later_each_time_and_then_fails(queue: JobQueue) -> None:
    queue.submit("run", {}, max_attempts=3)
    for attempt in (1, 2, 3):
        job = claim(queue)
        assert job.attempt == attempt
        assert queue.finish(job, Status.FAILED, error=f"no {attempt}", error_class="crash", retry=True)
        after = read(queue, job)
        if attempt < 3:
            assert after.status is Status.IN_QUEUE
            assert after.run_after - time.time() == pytest.approx(2**attempt, abs=1)
            assert queue.claim("me", 60) is None
            shift(queue, job, run_after=10)
    assert (after.status, after.error, after.error_class) == (Status.FAILED, "no 3", "crash")
    assert after.finished is not None
    assert queue.counts().retried == 1


def test_a_failure_that_is_not_tried_again_is_final(queue: JobQueue) -> None:
    queue.submit("run", {})
    job = claim(queue)
    assert queue.finish(job, Status.FAILED, error="bad\x00 input \ud800", error_class="Usage")
    assert read(queue, job).error == "bad\ufffd input ?"


def test_a_job_whose_workers_all_die_fails_at_last(queue: JobQueue) -> None:
    queue.submit("run", {}, max_attempts=2)
    first = claim(queue, lease_s=0.0)
    assert queue.reap().requeued == 1
    shift(queue, first, run_after=10)
    last = claim(queue, lease_s=0.0)
    assert queue.reap().failed == 1
    assert (read(queue, last).status, read(queue, last).error_class) == (Status.FAILED, "worker_lost")


def test_a_released_job_costs_no_attempt(queue: JobQueue) -> None:
    queue.submit("run", {}, max_attempts=1)
    job = claim(queue)
    assert queue.release(job)
    again = claim(queue)
    assert again.attempt == 2
    assert queue.finish(again, Status.FAILED, retry=True)
    assert read(queue, again).status is Status.FAILED


def test_cancelling(queue: JobQueue) -> None:
    waiting = queue.submit("run", {}, priority=-1)
    running = queue.submit("run", {})
    job = claim(queue)
    assert job.id == running.id
    cancelled = queue.cancel(waiting.id)
    assert cancelled is not None
    assert cancelled.status is Status.CANCELLED
    asked = queue.cancel(running.id)
    assert asked is not None
    assert (asked.status, asked.cancel) == (Status.IN_PROGRESS, True)
    assert queue.beat(job, 60).cancel
    assert queue.finish(job, Status.CANCELLED)
    assert queue.cancel(running.id) == read(queue, running)
    assert queue.cancel("no-such-u1") is None


def test_a_cancelled_job_whose_worker_died_is_not_tried_again(queue: JobQueue) -> None:
    for died in (True, False):
        queue.submit("run", {})
        job = claim(queue, lease_s=0.0)
        queue.cancel(job.id)
        if died:
            assert queue.reap().cancelled == 1
        else:
            assert queue.finish(job, Status.FAILED, error="crashed on the way", retry=True)
        assert read(queue, job).status is Status.CANCELLED


def test_retry_by_hand_gives_all_attempts_again(queue: JobQueue) -> None:
    queue.submit("run", {}, max_attempts=1)
    job = claim(queue)
    queue.add_chunk(job, {"scene": "a"}, key="a")
    queue.finish(job, Status.FAILED, error="no")
    again = queue.retry(job.id)
    assert again is not None
    assert (again.status, again.error, again.finished) == (Status.IN_QUEUE, None, None)
    second = claim(queue)
    assert second.attempt == 2
    assert queue.add_chunk(second, {"scene": "a", "other": True}, key="a")
    assert [chunk.content for chunk in queue.chunks_after(job.id)] == [{"scene": "a"}]
    assert queue.finish(second, Status.COMPLETED, output=1)
    done = queue.retry(job.id)
    assert done is not None
    assert done.status is Status.COMPLETED
    assert queue.retry("no-such-u1") is None


def test_a_job_that_nobody_takes_times_out(queue: JobQueue) -> None:
    job = queue.submit("run", {}, ttl_s=10)
    shift(queue, job, expires=11)
    assert queue.claim("me", 60) is None
    assert queue.reap().expired == 1
    assert (read(queue, job).status, read(queue, job).error_class) == (Status.TIMED_OUT, "ttl")


def test_a_job_that_takes_too_long_is_told_so_and_then_ended(queue: JobQueue) -> None:
    queue.submit("run", {}, execution_timeout_s=10)
    job = claim(queue)
    assert not queue.beat(job, 60).timed_out
    shift(queue, job, started=11)
    assert queue.beat(job, 60).timed_out
    assert queue.reap().timed_out == 0  # its owner has time to stop it
    shift(queue, job, started=100)
    assert queue.reap().timed_out == 1
    assert read(queue, job).status is Status.TIMED_OUT
    assert queue.beat(job, 60).lost


def test_purge_removes_what_waits_and_nothing_else(queue: JobQueue) -> None:
    running = queue.submit("run", {})
    claim(queue)
    waiting = [queue.submit("run", {}) for _ in range(3)]
    other = queue.submit("export", {})
    assert queue.purge("run") == 3
    assert {read(queue, job).status for job in waiting} == {Status.CANCELLED}
    assert read(queue, running).status is Status.IN_PROGRESS
    assert read(queue, other).status is Status.IN_QUEUE
    assert queue.purge() == 1


def test_chunks_are_taken_once_and_read_at_will(queue: JobQueue) -> None:
    queue.submit("run", {})
    job = claim(queue)
    queue.add_chunk(job, {"n": 1})
    queue.add_chunks(job, [(None, {"n": 2}), ("key", {"n": 3})])
    with ThreadPoolExecutor(4) as pool:
        taken = [
            chunk.content["n"] for part in pool.map(lambda _: queue.take_chunks(job.id), range(4)) for chunk in part
        ]
    assert sorted(taken) == [1, 2, 3]
    assert queue.take_chunks(job.id) == []
    first, *rest = queue.chunks_after(job.id)
    assert [chunk.content["n"] for chunk in rest] == [2, 3]
    assert queue.chunks_after(job.id, first.number) == rest


def test_lists_are_the_latest_first_and_in_pages(queue: JobQueue) -> None:
    ids = [queue.submit("run", {}, requested_by="me").id for _ in range(5)]
    queue.submit("export", {})
    wanted = JobFilter(endpoint="run", statuses=(Status.IN_QUEUE,), requested_by="me")
    page = queue.list(wanted, limit=2)
    rest = queue.list(wanted, limit=10, before=page[-1].number)
    assert [job.id for job in [*page, *rest]] == ids[::-1]
    assert queue.counts("run").in_queue == 5
    assert queue.counts().in_queue == 6


def test_changes_are_heard_once_and_none_is_missed(queue: JobQueue) -> None:
    cursor = queue.changes().cursor
    assert queue.changes(cursor, timeout_s=0.1).ids == ()
    heard: list[str] = []
    ids = []

    def listen() -> None:
        at, deadline = cursor, time.monotonic() + 20
        while time.monotonic() < deadline and len(heard) < 30:
            found = queue.changes(at, timeout_s=5)
            at = found.cursor
            heard.extend(found.ids)

    thread = threading.Thread(target=listen)
    thread.start()
    with ThreadPoolExecutor(3) as pool:
        ids = list(pool.map(lambda n: queue.submit("run", {"n": n}).id, range(30)))
    thread.join()
    assert sorted(heard) == sorted(ids)


def test_every_change_that_people_see_is_heard(queue: JobQueue) -> None:
    job = queue.submit("run", {})
    cursor = queue.changes().cursor

    def is_heard() -> bool:
        nonlocal cursor
        found = queue.changes(cursor, timeout_s=5)
        cursor = found.cursor
        return found.ids == (job.id,)

    held = claim(queue)
    assert is_heard()
    queue.progress(held, {"samples": 1})
    assert is_heard()
    queue.add_chunk(held, {})
    assert is_heard()
    queue.cancel(job.id)
    assert is_heard()
    queue.beat(held, 60)
    assert queue.changes(cursor, timeout_s=0.2).ids == ()  # a lease that is renewed is no news
    queue.finish(held, Status.CANCELLED)
    assert is_heard()


def test_webhooks_are_due_at_the_end_three_times_at_most(queue: JobQueue) -> None:
    queue.submit("run", {}, webhook="https://a.example/x")
    job = claim(queue)
    assert queue.claim_webhook() is None
    queue.finish(job, Status.COMPLETED)
    for _ in range(3):
        due = queue.claim_webhook()
        assert due is not None
        assert due.id == job.id
        assert queue.claim_webhook() is None
        shift(queue, job, webhook_due=11)
    assert queue.claim_webhook() is None
    again = queue.submit("run", {}, webhook="https://a.example/x")
    queue.cancel(again.id)
    due = queue.claim_webhook()
    assert due is not None
    queue.webhook_delivered(due)
    shift(queue, again, created=0)
    assert queue.claim_webhook() is None


def test_old_jobs_are_removed_with_their_chunks(queue: JobQueue) -> None:
    kept = queue.submit("run", {}, priority=-1)
    queue.submit("run", {})
    job = claim(queue)
    queue.add_chunk(job, {})
    queue.finish(job, Status.COMPLETED)
    assert queue.remove_finished(older_than_s=60) == []
    shift(queue, job, finished=61)
    assert queue.remove_finished(older_than_s=60) == [job.id]
    assert queue.get(job.id) is None
    assert queue.chunks_after(job.id) == []
    assert queue.get(kept.id) is not None


def test_runners_are_there_while_they_say_so(queue: JobQueue) -> None:
    state = RunnerState(owner="a", host="h", pid=1, endpoints=("run",), job=None, started=1.0, seen=0.0)
    queue.runner_seen(state)
    queue.runner_seen(RunnerState(owner="a", host="h", pid=1, endpoints=("run",), job="j-u1", started=1.0, seen=0.0))
    (found,) = queue.runners()
    assert (found.owner, found.job, found.endpoints) == ("a", "j-u1", ("run",))
    assert queue.runners(within_s=-1) == []
    queue.runner_gone("a")
    assert queue.runners() == []


def test_a_server_that_restarts_is_found_again(postgresql: Cluster, postgresql_database: str) -> None:
    queue = JobQueue(open_database(postgresql_database))
    cursor = queue.changes(queue.changes().cursor, timeout_s=0.1).cursor  # the listener listens
    postgresql.cut_connections()
    job = queue.submit("run", {})
    assert queue.changes(cursor, timeout_s=10).ids == (job.id,)
    queue.database.close()


@pytest.mark.parametrize("endpoints", [None, ["run", "export"]])
def test_a_claim_looks_at_what_waits_in_its_order(
    tmp_path: Path, sqlite_file: Path, endpoints: list[str] | None
) -> None:
    shutil.copy(sqlite_file, tmp_path / "queue.sqlite3")
    queue = JobQueue(open_database(str(tmp_path / "queue.sqlite3")))
    queue.submit("run", {})
    said: list[tuple[str, Any]] = []

    @event.listens_for(queue.database.engine, "before_cursor_execute")
    def note(_connection: Any, _cursor: Any, statement: str, given: Any, _context: Any, _many: bool) -> None:
        said.append((statement, given))

    assert queue.claim("me", 60, endpoints) is not None
    claim = next(one for one in said if one[0].startswith("UPDATE jobs"))
    with closing(sqlite3.connect(tmp_path / "queue.sqlite3")) as connection:
        plan = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {claim[0]}", claim[1])]
    assert "SCAN jobs USING INDEX ix_jobs_waiting" in plan
    assert not any("TEMP B-TREE" in step for step in plan)
    queue.database.close()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("mysql://x/y", "kind mysql"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("nonsense://", "nonsense"),
    ],
)
def test_wrong_addresses(given: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_database(given)


def test_a_server_that_is_not_there_is_said_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(StorageError) as caught:
        open_database(f"postgresql://me:hidden-word@/db?host={tmp_path}")
    assert "hidden-word" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_a_file_that_is_no_database_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "jobs.sqlite3"
    file.write_bytes(b"these are my notes, and no database\n" * 100)
    with pytest.raises(StorageError, match="not a database"):
        open_database(str(file))
    assert file.read_bytes().startswith(b"these are my notes")


def test_a_network_disk_is_refused_unless_forced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(databases, "find_file_system", lambda _: "nfs4")
    with pytest.raises(UsageError, match=r"network file system \(nfs4\)"):
        open_database(str(tmp_path / "jobs.sqlite3"))
    assert list(tmp_path.iterdir()) == []
    open_database(str(tmp_path / "jobs.sqlite3"), force=True).close()


@pytest.mark.parametrize(
    ("kind", "is_network"),
    [("ext4", False), ("overlay", False), ("fuse.fuse-overlayfs", False), ("fuse.s3fs", True), ("9p", True)],
)
def test_which_disks_are_on_a_network(kind: str, is_network: bool) -> None:
    assert databases.is_network(kind) is is_network
