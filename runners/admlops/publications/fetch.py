"""Fetches parts of a published data set: archives come one after the other, while several are unpacked.

It can be stopped at any moment, even by `kill -9`: downloads go on by byte range, whole files are not written again,
and an archive that is in the data set is not fetched again. An archive that cannot be had does not stop the others.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Literal

from admlops.core.errors import AdmlopsError, DataError, DownloadError
from admlops.core.file_lock import hold
from admlops.core.storage import require_writable
from admlops.core.types import Say
from admlops.downloads import download, redact
from admlops.publications.manifest import NOTES, write_manifest
from admlops.publications.objects import fetch_objects
from admlops.publications.plan import Step, check_md5, file_md5, incoming_folder
from admlops.publications.publication import Publication
from admlops.publications.records import Fetched, now, require_terms, write_fetched
from admlops.publications.unpack import Destination, unpack

FetchWatch = Callable[[Literal["fetch", "unpack"], str, int, "int | None"], None]
"""Takes the phase, an archive's name, the bytes that are done and those in all. Called from several threads."""


@dataclass(frozen=True, kw_only=True)
class FetchOptions:
    """A person's choices.

    `keep_archives` leaves downloaded archives in `.admlops/incoming`. `replace` writes over files of other content.
    `any_md5` takes an archive of a generation that is not known. `unpacking` archives are unpacked at a time, and
    `connections` objects fetched. `logs` takes only this many logs of a part of objects.
    """

    accept_terms: bool = False
    keep_archives: bool = False
    replace: bool = False
    any_md5: bool = False
    unpacking: int = 2
    connections: int = 16
    logs: int | None = None


@dataclass(kw_only=True)
class Outcome:
    """The archives that came now, those that were there, and the errors of the others."""

    fetched: list[Fetched] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, AdmlopsError] = field(default_factory=dict)


def fetch(
    publication: Publication, steps: Sequence[Step], root: Path, options: FetchOptions, *, say: Say, watch: FetchWatch
) -> Outcome:
    """Carry out the steps of `plan_fetch`; what failed is in the outcome.

    Raises:
        UsageError: the terms were not accepted, or a file of somebody else's is in the way.
        StorageError: the disk is full or the folder cannot be written; whole files stay.
    """
    require_writable(root)
    with hold(root / NOTES / "fetch.lock", what=f"fetching {publication.title}", say=say):
        require_terms(root, publication, accepted=options.accept_terms)
        work = _Work(root, options, say, watch)
        work.outcome.present = [step.name for step in steps if step.is_done]
        work.do_archives([step for step in steps if step.archive is not None and not step.is_done])
        for step in steps:
            if step.objects is not None and not step.is_done:
                work.do_objects(step)
    return work.outcome


class _Work:
    """One fetch on its way."""

    def __init__(self, root: Path, options: FetchOptions, say: Say, watch: FetchWatch) -> None:
        self.outcome = Outcome()
        self._root = root
        self._options = options
        self._say = say
        self._watch = watch
        self._stop = threading.Event()

    def do_archives(self, steps: Sequence[Step]) -> None:
        """Download in this thread, and hand each archive that is here to those that unpack."""
        taken: dict[str, Future[Fetched]] = {}
        with ThreadPoolExecutor(self._options.unpacking, thread_name_prefix="unpack") as pool:
            try:
                for step in steps:
                    self._collect(taken, done_only=True)
                    path = self._bring(step)
                    if path is not None:
                        taken[step.name] = pool.submit(self._take, step, path)
                self._collect(taken, done_only=False)
            except BaseException:  # Ctrl-C too: threads must end before this does
                self._stop.set()
                raise

    def do_objects(self, step: Step) -> None:
        """Fetch the objects of a part, log by log."""
        watch = partial(self._watch, "fetch", step.name)
        try:
            self.outcome.fetched += fetch_objects(
                step, self._root, connections=self._options.connections, logs=self._options.logs, watch=watch
            )
        except (DataError, DownloadError) as error:
            self.outcome.failed[step.name] = error

    def _bring(self, step: Step) -> Path | None:
        """Return where an archive lies, after it was downloaded if need be; None if it cannot be had."""
        if step.local is not None:
            return step.local
        target = incoming_folder(self._root) / step.name
        if target.is_file():  # whole, from a process that ended before it was unpacked
            return target
        try:
            return download(step.url, target, progress=partial(self._watch, "fetch", step.name), say=self._say).path
        except DownloadError as error:
            self.outcome.failed[step.name] = error
            return None

    def _collect(self, taken: dict[str, Future[Fetched]], *, done_only: bool) -> None:
        """Take the outcomes of unpacking. A faulty archive fails alone; a full disk ends it all."""
        for name in [name for name, future in taken.items() if future.done() or not done_only]:
            try:
                self.outcome.fetched.append(taken.pop(name).result())
            except DataError as error:
                self.outcome.failed[name] = error

    def _take(self, step: Step, path: Path) -> Fetched:
        """Check, unpack and record an archive; remove it if it was downloaded."""
        assert step.archive is not None, "a step of an archive"
        is_ours = step.local is None
        size = path.stat().st_size
        self._say(f"{step.name}: checking {size / 1e6:.0f} MB")
        try:
            md5 = file_md5(path) if self._options.any_md5 else check_md5(path, step.archive)
            destination = Destination(
                root=self._root, into=step.part.into, top=step.part.root, replace=self._options.replace
            )
            entries = unpack(path, destination, stop=self._stop, on_bytes=self._count(step))
        except DataError:
            if is_ours:
                path.unlink(missing_ok=True)  # else the next call would find the same
            raise
        write_manifest(self._root, step.name, entries)
        record = Fetched(
            name=step.name,
            part=step.part_name,
            origin=redact(step.url) if is_ours else str(path),
            size=size,
            md5=md5,
            files=len(entries),
            time=now(),
        )
        write_fetched(self._root, record)
        if is_ours and not self._options.keep_archives:
            path.unlink(missing_ok=True)
        return record

    def _count(self, step: Step) -> Callable[[int], None]:
        done = 0

        def add(size: int) -> None:
            nonlocal done
            done += size
            self._watch("unpack", step.name, done, None)

        return add
