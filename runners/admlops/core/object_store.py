"""Object stores: a folder, or an S3-compatible address whose keys come from the usual variables."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from admlops.core.addresses import hide_users, redact
from admlops.core.errors import AdmlopsError, StorageError, UsageError
from admlops.core.paths import user_path

if TYPE_CHECKING:
    from obstore.store import ObjectStore

SCHEMES = ("s3", "s3a", "gs", "az", "file")


def open_store(target: str, *, push: str, make: bool = False) -> ObjectStore:
    """Open the store named by a folder or an address such as `s3://bucket/packs`; keys come from `AWS_*` variables.

    Args:
        push: the command that puts something into a store, for the hints.
        make: whether a missing folder is made.

    Raises:
        UsageError: the address is of an unknown kind, or incomplete.
    """
    from obstore.exceptions import BaseError
    from obstore.store import LocalStore, from_url

    scheme = urlsplit(target).scheme
    try:
        if not scheme:
            folder = user_path(target)
            if not make and not folder.is_dir():
                raise UsageError(
                    f"the folder {folder} is not there", hint=f"{push} --to {shlex.quote(target)}   # makes it"
                )
            return LocalStore(folder, mkdir=make)
        if scheme not in SCHEMES:
            raise UsageError(
                f"{shown(target)!r} is neither a folder nor an address that begins with {', '.join(SCHEMES)}",
                hint=f"{push} --to s3://bucket/path",
            )
        endpoint = os.environ.get("AWS_ENDPOINT_URL") or os.environ.get("AWS_ENDPOINT") or ""
        # A store on this machine or in a private network may speak plain HTTP; its address says so.
        return from_url(target, client_options={"allow_http": endpoint.startswith("http://")})
    except (BaseError, ValueError, OSError) as error:
        keys = "export AWS_ENDPOINT_URL, AWS_REGION, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a folder"
        raise UsageError(
            f"{shown(target)!r} cannot be used as a store: {_first_line(error)}",
            hint=keys if scheme else f"ls -ld {shlex.quote(str(Path(target).parent))}   # make it writable",
        ) from error


def shown(target: str) -> str:
    """Return a store's name made safe to print: an address without user and signature."""
    return redact(target) if "://" in target else target


@contextmanager
def explained(target: str, kind: type[AdmlopsError] = StorageError) -> Iterator[None]:
    """Turn a store's own error into one of ours, of this kind."""
    from obstore.exceptions import BaseError

    try:
        yield
    except (BaseError, FileNotFoundError, PermissionError) as error:  # obstore raises Python's own for 404 and 403
        hint = "check the address, the AWS_* variables and the network, then run the command again: it goes on"
        message = f"the store {shown(target)} does not answer as it should: {_first_line(error)}"
        raise kind(message, hint=hint) from error


def _first_line(error: Any) -> str:
    return hide_users(next(iter(str(error).splitlines()), type(error).__name__))[:300]
