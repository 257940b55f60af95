"""Waiting for a change of any job: SQLite is asked again and again, PostgreSQL notifies."""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress

from sqlalchemy import URL, BigInteger, Text, cast, func, select

from admlops.service.queue.database import Database
from admlops.service.queue.job import Changes
from admlops.service.queue.store import Store
from admlops.service.queue.tables import JOBS

log = logging.getLogger(__name__)

POLL_S = 0.1
"""How often SQLite is asked: a question costs some ten microseconds of reading."""
DOUBT_S = 1.0
"""How often PostgreSQL is asked without a notification: its listener may have lost its connection."""
AGAIN_S = 2.0
CHANNEL = "admlops_jobs"


class ChangeWaiter:
    """Waits for changes, in any number of threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._listener: _Listener | None = None

    def wait(self, since: int | None, timeout_s: float) -> Changes:
        """Return the jobs that changed after `since`; wait for one where there is none yet."""
        deadline = time.monotonic() + timeout_s
        listener = self._find_listener() if timeout_s > 0 else None
        while True:
            heard = 0 if listener is None else listener.heard
            found = read_changes(self._store, since)
            left = deadline - time.monotonic()
            if found.ids or since is None or left <= 0:
                return found
            if listener is None:
                time.sleep(min(POLL_S, left))
            else:
                listener.wait(heard, min(DOUBT_S, left))

    def _find_listener(self) -> _Listener | None:
        if self._store.database.is_sqlite:
            return None
        with self._lock:
            if self._listener is None:
                self._listener = _Listener(self._store.database)
                self._listener.start()
            return self._listener


def read_changes(store: Store, since: int | None) -> Changes:
    """Return the jobs that changed after `since`; None asks for the cursor alone."""
    with store.database.read() as connection:
        if store.database.is_sqlite:
            latest = int(connection.execute(select(func.coalesce(func.max(JOBS.c.changed), 0))).scalar_one())
        else:  # the changes of a transaction before this one have been committed, or never will be
            oldest = func.pg_snapshot_xmin(func.pg_current_snapshot())
            latest = int(connection.execute(select(cast(cast(oldest, Text), BigInteger) - 1)).scalar_one())
        if since is None or since == latest:
            return Changes(cursor=latest)
        if since > latest:
            since = -1  # another database, or all jobs were removed: everything is news
        rows = connection.execute(
            select(JOBS.c.id)
            .where(JOBS.c.changed > since, JOBS.c.changed <= latest)
            .order_by(JOBS.c.changed, JOBS.c.number)
        ).scalars()
        return Changes(cursor=latest, ids=tuple(rows))


class _Listener(threading.Thread):
    """Hears PostgreSQL's notifications on a connection of its own, which must not go through a transaction pooler."""

    def __init__(self, database: Database) -> None:
        super().__init__(name="listener", daemon=True)
        self.heard = 0
        self._url = database.engine.url
        self._database = database
        self._news = threading.Condition()

    def wait(self, heard: int, timeout_s: float) -> None:
        """Wait until more was heard than `heard`."""
        with self._news:
            self._news.wait_for(lambda: self.heard != heard, timeout_s)

    def run(self) -> None:
        """Listen until the database is closed; a connection that is lost is made anew."""
        import psycopg

        while not self._database.is_closed:
            with suppress(psycopg.Error):
                self._listen()
            time.sleep(AGAIN_S)

    def _listen(self) -> None:
        import psycopg

        with psycopg.connect(_plain(self._url), autocommit=True) as connection:
            connection.execute(f"LISTEN {CHANNEL}")
            self._tell()  # what came before there was a listener
            while not self._database.is_closed:
                for _ in connection.notifies(timeout=DOUBT_S, stop_after=1):
                    self._tell()

    def _tell(self) -> None:
        with self._news:
            self.heard += 1
            self._news.notify_all()


def _plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)
