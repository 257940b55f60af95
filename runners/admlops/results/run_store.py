"""Runs in a folder or an S3-compatible store, so that machines that do not reach each other can hand them over.

A store holds `runs/<name>/<file>` for every file of the run's manifest, and the manifest, which is written last: a run
without one has not arrived yet.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import msgspec

from admlops.core.errors import RecordError, UsageError
from admlops.core.object_store import explained, open_store, shown
from admlops.core.storage import explain_os_error, file_sha256
from admlops.results.run_folder import RunFolder

if TYPE_CHECKING:
    from obstore.store import ObjectStore

PUSH = "admlops results push RUN"
"""The command that puts a run into a store."""
MANIFEST = "manifest.json"
TRANSFERS = 8


class _Manifest(msgspec.Struct):
    schema: int
    files: dict[str, str]


def push_run(run: RunFolder, target: str) -> int:
    """Put a run that has ended into a store. Files that it holds already stay. Returns the bytes that travelled.

    Raises:
        UsageError: the address cannot be used, or the store holds another run of this name.
        RecordError: the run goes on, or a file is not what its manifest says.
        StorageError: the store cannot be reached or refuses.
    """
    with run.lock():
        damaged = run.check_manifest()
        if damaged:
            raise RecordError(
                f"{run.path / damaged[0]} is not what the run's manifest says",
                hint=f"admlops results verify {run.path.name}",
            )
        content = run.manifest_path.read_bytes()
        files = _parse(content, str(run.manifest_path))
        store = open_store(target, push=PUSH, make=True)
        with explained(target):
            before = _manifest_of(store, run.header.run)
            if before is not None and before != content:
                raise UsageError(
                    f"{shown(target)} holds another run called {run.header.run}",
                    hint="name a folder of its own for each machine: --to s3://bucket/pod-2",
                )
            there = {} if before is None else files
            sent = _send(store, run, {name: one for name, one in files.items() if name not in there})
            store.put(_key(run.header.run, MANIFEST), content)
    return sent


def pull_run(name: str, target: str, folder: Path) -> RunFolder:
    """Bring the run `name` from a store into `folder`, which is there only when the run is whole.

    Raises:
        UsageError: the address cannot be used, or `folder` is there already.
        RecordError: the store has no such run, or what came is not what its manifest says.
        StorageError: the store cannot be reached, or the disk cannot be written.
    """
    store = open_store(target, push=PUSH)
    if folder.exists():
        raise UsageError(f"{folder} is there already", hint=f"admlops results remove {name}   # or pull it --as NAME")
    with explained(target):
        content = _manifest_of(store, name)
        if content is None:
            raise RecordError(
                f"{shown(target)} has no run called {name}", hint=f"admlops results push {name} --to {shown(target)}"
            )
        files = _parse(content, f"{target}/{_key(name, MANIFEST)}")
        partial = folder.with_name(f".{folder.name}.pull")
        try:
            _bring(store, name, files, partial)
            (partial / MANIFEST).write_bytes(content)
            partial.rename(folder)
        except OSError as error:
            raise explain_os_error(error, folder) from error
    return RunFolder.open(folder)


def _send(store: ObjectStore, run: RunFolder, files: Mapping[str, str]) -> int:
    def put(name: str) -> int:
        path = run.path / name
        store.put(_key(run.header.run, name), path)
        return path.stat().st_size

    with ThreadPoolExecutor(TRANSFERS) as pool:
        return sum(pool.map(put, files))


def _bring(store: ObjectStore, name: str, files: Mapping[str, str], partial: Path) -> None:
    """Fetch what an interrupted pull has not brought yet; every file is checked against its hash."""

    def get(item: tuple[str, str]) -> None:
        file, digest = item
        path = partial / file
        if path.is_file() and file_sha256(path) == digest:
            return
        content = bytes(store.get(_key(name, file)).bytes())
        if hashlib.sha256(content).hexdigest() != digest:
            raise RecordError(
                f"{_key(name, file)} is not what the run's manifest says", hint=f"{PUSH} --to STORE   # again"
            )
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    partial.mkdir(parents=True, exist_ok=True)
    known = {partial / file for file in files}
    for path in [path for path in partial.rglob("*") if path.is_file() and path not in known]:
        path.unlink()
    with ThreadPoolExecutor(TRANSFERS) as pool:
        list(pool.map(get, files.items()))
    for needed in ("records", "logs"):
        (partial / needed).mkdir(exist_ok=True)


def _manifest_of(store: ObjectStore, name: str) -> bytes | None:
    from obstore.exceptions import NotFoundError

    try:
        return bytes(store.get(_key(name, MANIFEST)).bytes())
    except (NotFoundError, FileNotFoundError):
        return None


def _parse(content: bytes, where: str) -> dict[str, str]:
    """The files of a manifest, none of which leads out of the run's folder."""
    try:
        files = msgspec.json.decode(content, type=_Manifest).files
    except msgspec.DecodeError as error:
        raise RecordError(f"{where} is not a run's manifest: {error}", hint="admlops results verify RUN") from error
    for name in files:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or str(path) != name:
            raise RecordError(f"{where} names {name!r}, which is no file of a run", hint="do not take this run")
    return files


def _key(name: str, file: str) -> str:
    return f"runs/{name}/{file}"
