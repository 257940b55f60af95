"""Fetches single objects of a public bucket, log by log: what is there with its size is not fetched again."""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from admlops.core.errors import DataError, DownloadError
from admlops.core.object_store import explained
from admlops.core.storage import explain_os_error
from admlops.core.types import DownloadWatch
from admlops.downloads import mirrored
from admlops.publications.manifest import Entry, write_manifest
from admlops.publications.plan import Step
from admlops.publications.publication import Objects
from admlops.publications.records import Fetched, now, read_fetched, write_fetched
from admlops.publications.unpack import PART_SUFFIX

if TYPE_CHECKING:
    from obstore.store import S3Store

ATTEMPTS = 4
BACKOFF_S = 0.5
_MD5 = re.compile(r'"?([0-9a-f]{32})"?')
"""An entity tag that is the content's md5; that of an object sent in pieces has a dash."""


def fetch_objects(step: Step, root: Path, *, connections: int, logs: int | None, watch: DownloadWatch) -> list[Fetched]:
    """Fetch the logs of a part; return a record for each that came now.

    Args:
        connections: objects that are fetched at a time.
        logs: take only this many, the first by name.

    Raises:
        DownloadError: the store does not answer, or has no such objects.
        DataError: what came is not what the store says it is.
        StorageError: the disk is full; whole files stay.
    """
    objects = step.objects
    assert objects is not None, "a step of objects"
    store = _open_store(objects)
    names = _list_logs(store, objects)
    if not names:
        raise DownloadError(f"{step.url} holds no object", hint="see whether its publisher moved it")
    chosen = names if logs is None else names[:logs]
    records, done = [], 0
    for name in chosen:
        label = f"{step.name}-{name}"
        if read_fetched(root, label) is not None:
            continue
        entries = []
        with ThreadPoolExecutor(connections, thread_name_prefix="objects") as pool:
            wanted = _list_objects(store, f"{objects.prefix}{name}/")
            for entry in pool.map(lambda one: _fetch_one(store, objects, step, root, one), wanted):
                entries.append(entry)
                done += entry.size
                watch(done, None)
        records.append(_record(step, label, root, entries))
    if chosen == names:
        write_fetched(root, _summary(step, len(names)))
    return records


def _open_store(objects: Objects) -> S3Store:
    """Open a bucket without keys; ADMLOPS_DOWNLOAD_MIRROR stands in for its host as for any other."""
    from obstore.store import S3Store

    endpoint = mirrored(objects.endpoint)
    return S3Store(
        objects.bucket,
        region=objects.region,
        endpoint=endpoint,
        skip_signature=True,
        virtual_hosted_style_request=False,
        client_options={"allow_http": endpoint.startswith("http://")},
    )


def _list_logs(store: S3Store, objects: Objects) -> list[str]:
    import obstore

    with explained(f"s3://{objects.bucket}", DownloadError):
        found = obstore.list_with_delimiter(store, objects.prefix)
    return sorted(prefix.rstrip("/").rpartition("/")[2] for prefix in found["common_prefixes"])


def _list_objects(store: S3Store, prefix: str) -> Iterator[Any]:
    import obstore

    with explained(prefix, DownloadError):
        for page in obstore.list(store, prefix):
            yield from page


def _fetch_one(store: S3Store, objects: Objects, step: Step, root: Path, listed: Any) -> Entry:
    """Fetch an object unless it is there, and hash it in either case."""
    key, size = str(listed["path"]), int(listed["size"])
    relative = f"{step.part.into}/{key.removeprefix(objects.prefix)}".lstrip("/")
    if ".." in Path(relative).parts:
        raise DataError(f"the store's object {key!r} would leave the data set", hint="do not use this store")
    target = root / relative
    if target.is_file() and target.stat().st_size == size:
        digest = hashlib.sha256(target.read_bytes()).hexdigest()
        return Entry(path=relative, size=size, sha256=digest)
    content = _get(store, key, size, str(listed.get("e_tag") or ""))
    beside = target.with_name(f".{target.name}{PART_SUFFIX}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        beside.write_bytes(content)
        beside.replace(target)
    except OSError as error:
        beside.unlink(missing_ok=True)
        raise explain_os_error(error, target) from error
    return Entry(path=relative, size=size, sha256=hashlib.sha256(content).hexdigest())


def _get(store: S3Store, key: str, size: int, tag: str) -> bytes:
    """Return an object's content: pictures and sweeps of a few megabytes.

    Raises:
        DownloadError: it does not come, or never whole.
    """
    import obstore
    from obstore.exceptions import BaseError

    wanted_md5 = _MD5.fullmatch(tag)
    problem = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(BACKOFF_S * 2 ** (attempt - 1))
        try:
            content = bytes(obstore.get(store, key).bytes())
        except (BaseError, OSError) as error:
            problem = next(iter(str(error).splitlines()), type(error).__name__)[:300]
            continue
        if len(content) != size:
            problem = f"{len(content)} of {size} bytes came"
        elif wanted_md5 and hashlib.md5(content, usedforsecurity=False).hexdigest() != wanted_md5[1]:
            problem = "its md5 is not the one that the store gives"
        else:
            return content
    raise DownloadError(
        f"{key} could not be fetched in {ATTEMPTS} attempts: {problem}",
        hint="check the network, then run the command again: it goes on",
    )


def _record(step: Step, label: str, root: Path, entries: list[Entry]) -> Fetched:
    write_manifest(root, label, entries)
    size = sum(entry.size for entry in entries)
    record = Fetched(
        name=label, part=step.part_name, origin=step.url, size=size, md5="", files=len(entries), time=now()
    )
    write_fetched(root, record)
    return record


def _summary(step: Step, logs: int) -> Fetched:
    return Fetched(name=step.name, part=step.part_name, origin=step.url, size=0, md5="", files=logs, time=now())
