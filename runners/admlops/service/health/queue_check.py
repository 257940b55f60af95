"""The health check of the queue's database, where no service runs: `admlops health queue`.

It looks at the default SQLite file. A database that `admlops serve --database` names is looked at by that service's own
`/readyz`.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url

from admlops.health.disks import find_file_system
from admlops.pipeline.health.check import Finding, HealthCheck, Place
from admlops.service.queue.database import default_url, is_network
from admlops.service.queue.job import Status

ANSWER_S = 5.0
SEEN_S = 60.0
"""A runner says every few seconds that it is there."""


def _look(place: Place) -> Iterator[Finding]:
    file = Path(make_url(default_url(place.layout)).database or "")
    there = next((path for path in (file, *file.parents) if path.exists()), Path("/"))
    kind = find_file_system(there, mounts=place.root / "proc/mounts")
    unfit = is_network(kind)
    yield Finding(
        measure="file system",
        value=kind or None,
        subject=file.name,
        status="warn" if unfit else "pass",
        problem="SQLite can lose what it wrote on a network disk, so the service refuses it" if unfit else "",
        advice="admlops serve --database sqlite:////root/service.sqlite3   # on the container's disk, or PostgreSQL",
    )
    if not file.exists():
        yield Finding(measure="database", value="none: admlops serve makes one")
        return
    yield from _look_inside(file)


def _look_inside(file: Path) -> Iterator[Finding]:
    try:
        counts, seen = _read(file)
    except sqlite3.Error as error:
        yield Finding(
            measure="database",
            value="cannot be read",
            status="fail",
            problem=f"{file}: {error}",
            advice=f"ls -l {file}*; df -h {file.parent}   # a copy of it may be in the backup's folder",
        )
        return
    yield Finding(measure="database", value="answers")
    waiting = counts.get(Status.IN_QUEUE, 0)
    idle = waiting > 0 and time.time() - seen > SEEN_S
    yield Finding(
        measure="jobs that wait",
        value=waiting,
        status="warn" if idle else "pass",
        problem="nobody takes them: no runner was seen in the last minute" if idle else "",
        advice="admlops serve   # starts runners",
    )
    yield Finding(measure="jobs in progress", value=counts.get(Status.IN_PROGRESS, 0))


def _read(file: Path) -> tuple[dict[str, int], float]:
    """Count the jobs by state, and return when a runner was seen last [s since 1970]."""
    connection = sqlite3.connect(f"file:{quote(str(file))}?mode=rw", uri=True, timeout=ANSWER_S)
    try:
        counts = dict(connection.execute("SELECT status, count(*) FROM jobs GROUP BY status").fetchall())
        ((seen,),) = connection.execute("SELECT coalesce(max(seen), 0) FROM runners").fetchall()
    finally:
        connection.close()
    return counts, float(seen)


CHECK = HealthCheck(id="queue", title="Queue of jobs", look=_look)
