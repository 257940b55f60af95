"""What both sides of the queue share: the database, its clock, and the number of a change."""

from __future__ import annotations

import time
from uuid import uuid4

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Double,
    Text,
    bindparam,
    cast,
    extract,
    func,
    literal,
    select,
)

from admlops.service.queue.database import Database
from admlops.service.queue.tables import JOBS

MANY = 7_261_140_553
"""The number of PostgreSQL's advisory lock for whoever changes many rows."""

SERVER_CLOCK: ColumnElement[float] = cast(extract("epoch", func.clock_timestamp()), Double)
OTHER = JOBS.alias("other")
# made once: an alias of all columns costs as much as a statement
NEXT_BY_COUNT: ColumnElement[int] = select(func.coalesce(func.max(OTHER.c.changed), 0) + 1).scalar_subquery()
NEXT_BY_TRANSACTION: ColumnElement[int] = cast(cast(func.pg_current_xact_id(), Text), BigInteger)


class Store:
    """An open database as the queue uses it."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.clocked: ColumnElement[float] = bindparam("at_now", type_=Double) if database.is_sqlite else SERVER_CLOCK
        """The time in a statement that is made once; `clock` gives its value."""

    def clock(self) -> dict[str, float]:
        """Return the value of `clocked` where the database does not know it itself."""
        return {"at_now": time.time()} if self.database.is_sqlite else {}

    def now(self) -> ColumnElement[float]:
        """Return the time [s since 1970]: of the one machine for SQLite, else of the server, whatever a pod's clock."""
        return literal(time.time(), Double) if self.database.is_sqlite else SERVER_CLOCK

    def next_change(self) -> ColumnElement[int]:
        """Return a number greater than that of every change before.

        SQLite has one writer at a time, so the greatest and one more will do. PostgreSQL has many: there it is the
        transaction's own number, and who reads leaves out those that may still come (`changes.py`).
        """
        return NEXT_BY_COUNT if self.database.is_sqlite else NEXT_BY_TRANSACTION

    def change_many(self, connection: Connection, *, wait: bool = True) -> bool:
        """Take the right to change many rows at once until the transaction ends; call it first.

        Two that change the same rows in different orders would wait for each other. SQLite has one writer anyway.

        Returns:
            False where another has it and this is not to `wait`.
        """
        if self.database.is_sqlite:
            return True
        if wait:
            connection.execute(select(func.pg_advisory_xact_lock(MANY)))
            return True
        return bool(connection.execute(select(func.pg_try_advisory_xact_lock(MANY))).scalar_one())

    @staticmethod
    def new_key() -> str:
        """Return a key of a chunk that has none of its own."""
        return uuid4().hex


def clean(text: str | None) -> str | None:
    """Return a text that both databases take: without NUL and without halves of surrogate pairs."""
    return None if text is None else text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()
