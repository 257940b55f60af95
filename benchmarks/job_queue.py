"""Jobs per second that are taken and done, beside a plain loop over the same table.

    python benchmarks/job_queue.py [--jobs N] [--processes 1,4] [--postgresql URL] [--json]

A job does nothing: what is measured is the queue. `queue` is `JobQueue.claim` and `finish`, with leases, fences and
numbers of changes. `plain` is what one writes without it, by the driver alone: `BEGIN`, `SELECT` the first waiting job,
`UPDATE` it to taken, `COMMIT`, then `UPDATE` it to done. It has the same columns and the same safety of the disk, and
nothing for a worker that dies. The ratio is the queue's rate by the plain loop's. Processor time is that of all
processes, and says more than the rate on a machine that is busy.

PostgreSQL is measured where the address of an empty database is given; what it holds of jobs is removed.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

from sqlalchemy import text

from admlops.service.queue.database import Database, open_database
from admlops.service.queue.job import Status
from admlops.service.queue.jobs import JobQueue
from admlops.service.queue.tables import JOBS

GOAL_PER_S = 100
FIRST = "SELECT number, input FROM jobs WHERE status = 'IN_QUEUE' ORDER BY number"
TITLES = ("processes", "queue/s", "plain/s", "ratio", "queue CPU ms", "plain CPU ms")
Work = Callable[[str], int]
"""Does jobs of the database at an address until none waits, and returns how many."""


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, default=2000)
    parser.add_argument("--processes", default="1,4", help="how many work at once, in turn")
    parser.add_argument("--postgresql", metavar="URL", help="measure in this database as well")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    counts = [int(count) for count in options.processes.split(",")]
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for count in counts:
            url = f"sqlite:///{folder}/queue-{count}.sqlite3"
            found.append(compare("SQLite", url, options.jobs, count))
    if options.postgresql:
        found += [compare("PostgreSQL", options.postgresql, options.jobs, count) for count in counts]
    answer = {"goal_per_s": GOAL_PER_S, "jobs": options.jobs, "measured": found}
    print(json.dumps(answer) if options.json else _table(found))
    return 0


def compare(name: str, url: str, jobs: int, processes: int) -> dict[str, Any]:
    """Measure both ways over equal jobs."""
    plain = take_plainly if name == "SQLite" else take_plainly_from_postgresql
    ours = measure(url, jobs, processes, take_from_queue)
    theirs = measure(url, jobs, processes, plain)
    return {
        "database": name,
        "processes": processes,
        "queue": ours,
        "plain": theirs,
        "ratio": round(ours["per_s"] / theirs["per_s"], 3),
    }


def measure(url: str, jobs: int, processes: int, work: Work) -> dict[str, float]:
    """Return jobs per second, and processor milliseconds a job, from when all processes are ready to the last one done.

    Raises:
        RuntimeError: a job was done twice, or not at all.
    """
    database = open_database(url)
    _fill(database, jobs)
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(processes + 1)
    results = context.SimpleQueue()
    workers = [context.Process(target=_work, args=(work, url, barrier, results)) for _ in range(processes)]
    for worker in workers:
        worker.start()
    barrier.wait()
    begun = time.monotonic()
    done = [results.get() for _ in workers]
    elapsed_s = time.monotonic() - begun
    for worker in workers:
        worker.join()
    completed = JobQueue(database).counts().completed
    database.close()
    if completed != jobs or sum(count for count, _ in done) != jobs:
        raise RuntimeError(f"of {jobs} jobs {completed} are done, {sum(count for count, _ in done)} times in all")
    return {"per_s": round(jobs / elapsed_s, 1), "cpu_ms": round(1e3 * sum(cpu for _, cpu in done) / jobs, 2)}


def _fill(database: Database, jobs: int) -> None:
    """Put so many jobs into an empty queue."""
    with database.write() as connection:
        connection.execute(text("DELETE FROM jobs"))
    queue = JobQueue(database)
    first = queue.submit("light", {"n": 0})
    with database.write() as connection:
        names = ", ".join(column.name for column in JOBS.columns if column.name not in {"number", "id"})
        for number in range(1, jobs):
            connection.execute(
                text(f"INSERT INTO jobs (id, {names}) SELECT :id, {names} FROM jobs WHERE id = :first"),
                {"id": f"job-{number}-u1", "first": first.id},
            )


def _work(work: Work, url: str, barrier: Barrier, results: Any) -> None:
    barrier.wait()
    before = _cpu_s()
    count = work(url)
    results.put((count, _cpu_s() - before))


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def take_from_queue(url: str) -> int:
    """Do all jobs as a runner takes them."""
    queue = JobQueue(open_database(url))
    count = 0
    while (job := queue.claim("me", 60)) is not None:
        count += queue.finish(job, Status.COMPLETED, output={})
    queue.database.close()
    return count


def take_plainly(url: str) -> int:
    """Do all jobs by SELECT and UPDATE, in SQLite."""
    connection = sqlite3.connect(url.removeprefix("sqlite:///"), timeout=30, isolation_level=None)
    connection.execute("PRAGMA synchronous=NORMAL")
    count = 0
    while True:
        connection.execute("BEGIN IMMEDIATE")
        row = connection.execute(f"{FIRST} LIMIT 1").fetchone()
        if row is None:
            connection.execute("COMMIT")
            connection.close()
            return count
        connection.execute(
            "UPDATE jobs SET status = 'IN_PROGRESS', started = ? WHERE number = ?", (time.time(), row[0])
        )
        connection.execute("COMMIT")
        json.loads(row[1])
        connection.execute(
            "UPDATE jobs SET status = 'COMPLETED', output = '{}', finished = ? WHERE number = ?", (time.time(), row[0])
        )
        count += 1


def take_plainly_from_postgresql(url: str) -> int:
    """Do all jobs by SELECT and UPDATE, in PostgreSQL; `FOR UPDATE` makes two wait for each other."""
    import psycopg

    count = 0
    with psycopg.connect(url, autocommit=True) as connection:
        while True:
            with connection.transaction():
                row = connection.execute(f"{FIRST} LIMIT 1 FOR UPDATE").fetchone()
                if row is not None:
                    connection.execute("UPDATE jobs SET status = 'IN_PROGRESS' WHERE number = %s", row[:1])
            if row is None:
                left = connection.execute("SELECT count(*) FROM jobs WHERE status = 'IN_QUEUE'").fetchone()
                if left == (0,):
                    return count
                continue  # another took what this one waited for
            json.loads(row[1])
            connection.execute("UPDATE jobs SET status = 'COMPLETED', output = '{}' WHERE number = %s", row[:1])
            count += 1


def _table(found: list[dict[str, Any]]) -> str:
    lines = [f"{'database':<12}" + "".join(f"{title:>14}" for title in TITLES)]
    for one in found:
        queue, plain = one["queue"], one["plain"]
        cells = (one["processes"], queue["per_s"], plain["per_s"], one["ratio"], queue["cpu_ms"], plain["cpu_ms"])
        lines.append(f"{one['database']:<12}" + "".join(f"{cell:>14}" for cell in cells))
    slowest = min(one["queue"]["per_s"] for one in found if one["database"] == "SQLite")
    lines.append(f"goal: {GOAL_PER_S} jobs/s in SQLite; the slowest here is {slowest}")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
