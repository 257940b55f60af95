"""What the operator of a service decides about its jobs. No client can change any of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import msgspec

from admlops.core.paths import Layout
from admlops.service.queue.database import default_backup, default_url

DAY_S = 86400.0
Order = TypeVar("Order")


class JobSettings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of runners and of the check of inputs.

    Attributes:
        database: the address of the queue's database, for `open_database`.
        data_roots: the folders below which a job may read data sets. A relative name is looked up in each, in order.
        endpoints: take jobs of these alone; empty for all.
        lease_s: how long a job belongs to a process without a word from it [s].
        grace_s: how long a job may take to stop before it is killed [s].
        keep_s: how long ended jobs stay in the table [s]; 0 keeps them for ever. Runs stay in any case.
        backup: the folder that gets a copy of a SQLite database after jobs have ended; None for no copies.
        force_database: take a SQLite file on a network file system too.
    """

    database: str
    data_roots: tuple[Path, ...]
    endpoints: tuple[str, ...] = ()
    lease_s: float = 30.0
    grace_s: float = 60.0
    keep_s: float = 30 * DAY_S
    backup: Path | None = None
    force_database: bool = False


def default_settings(layout: Layout) -> JobSettings:
    """Return the default settings of a service: a SQLite file, and data sets in `data/`."""
    return JobSettings(database=default_url(layout), backup=default_backup(layout), data_roots=(layout.data,))


def encode_order(order: Any) -> bytes:
    """Return what a process is told through a pipe; paths become text."""
    return msgspec.json.encode(order, enc_hook=str)


def decode_order(content: bytes, kind: type[Order]) -> Order:
    """Return what `encode_order` was given. Raises msgspec.ValidationError: it is of another kind."""
    return msgspec.json.decode(content, type=kind, dec_hook=lambda wanted, value: wanted(value))
