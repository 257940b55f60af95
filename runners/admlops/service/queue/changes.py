"""Waiting for a change of any job."""

from __future__ import annotations

import time

from sqlalchemy import BigInteger, Text, cast, func, select

from admlops.service.queue.job import Changes
from admlops.service.queue.store import Store
from admlops.service.queue.tables import JOBS

POLL_S = 0.1


def wait_for_change(store: Store, since: int | None, timeout_s: float) -> Changes:
    """Return the jobs that changed after `since`; wait for one where there is none yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        found = read_changes(store, since)
        if found.ids or since is None or time.monotonic() >= deadline:
            return found
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))


def read_changes(store: Store, since: int | None) -> Changes:
    """Return the jobs that changed after `since`; None asks for the cursor alone."""
    with store.database.read() as connection:
        if store.database.is_sqlite:
            latest = int(connection.execute(select(func.coalesce(func.max(JOBS.c.changed), 0))).scalar_one())
        else:  # what is below has been committed or never will be
            oldest = func.pg_snapshot_xmin(func.pg_current_snapshot())
            latest = int(connection.execute(select(cast(cast(oldest, Text), BigInteger) - 1)).scalar_one())
        if since is None:
            return Changes(cursor=latest)
        if since > latest:
            since = -1  # another database, or all jobs were removed: everything is news
        rows = connection.execute(
            select(JOBS.c.id)
            .where(JOBS.c.changed > since, JOBS.c.changed <= latest)
            .order_by(JOBS.c.changed, JOBS.c.number)
        ).scalars()
        return Changes(cursor=latest, ids=tuple(rows))
