"""A run folder: the records of one run with all that says where they come from. Files are the truth.

```
run.json                    the header, rewritten in one piece
records/<scene>.jsonl       one record a line; there only when the scene is whole
records/<scene>.jsonl.part  a scene in progress: never read, written again on resume
order.json                  where the samples stand in the file that a submission came from, if not in this order
logs/  events.jsonl  telemetry.jsonl  predictions/  metrics.json  resamples.json  report.html
throughput.json             what throughput mode tried before the run, and what it chose
manifest.json               sha256 of every file above
run.lock                    held while a process writes
tags.json                   what a person calls it; no part of the run
```
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import msgspec
from filelock import FileLock, Timeout

from admlops.core.errors import RecordError, StorageError, UsageError
from admlops.core.storage import explain_os_error, write_atomically
from admlops.results.header import (
    RunHeader,
    RunState,
    decode_header,
    encode_header,
    find_difference,
    find_way_out,
    shorten,
)
from admlops.results.liveness import ObservedState, identify_host, is_alive
from admlops.results.record import REPORTED_FIELDS, Failure, Record
from admlops.results.record_json import decode_record
from admlops.results.run_manifest import MANIFEST_FILE, check_manifest, write_manifest
from admlops.results.scene_writer import SceneWriter

LOCK_S = 0.3
"""How long to wait for the lock: `results list` holds it for a moment to see whether a run goes on."""
READ_AT_ONCE_BYTES = 4 << 20
"""A lane graph's record has a megabyte or more: the usual 8 KiB buffer would assemble it from hundreds of pieces."""


class _Status(msgspec.Struct):
    status: str
    sample_token: str = ""
    failure: Failure | None = None


class _StatusOnly(msgspec.Struct):
    metadata: _Status


_decode_status = msgspec.json.Decoder(_StatusOnly).decode


class RunFolder:
    """One run on disk. Make one with `create`, `open` or `resume`; hold `lock()` while writing."""

    def __init__(self, path: Path, header: RunHeader) -> None:
        self.path = path
        self.header = header
        self._events_lock = threading.Lock()
        self._header_lock = threading.Lock()

    @classmethod
    def create(cls, path: Path, header: RunHeader) -> RunFolder:
        """A new run in a folder that is not there yet, or is empty.

        Raises:
            StorageError: the folder holds a run or other files, or cannot be written.
        """
        run = cls(path, header)
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise explain_os_error(error, path) from error
        with run.lock():
            if (path / "run.json").exists():
                raise StorageError(
                    f"{path} already holds a run",
                    hint=f"{cls.open(path).header.resume_command}   # or choose another --run NAME",
                )
            if any(entry.name != "run.lock" for entry in path.iterdir()):
                raise StorageError(f"{path} holds files that are not a run", hint="choose another --run NAME")
            run._write_header()
            try:
                run.records_path.mkdir()
                run.logs_path.mkdir()
            except OSError as error:
                raise explain_os_error(error, path) from error
        return run

    @classmethod
    def open(cls, path: Path) -> RunFolder:
        """The run in `path`.

        Raises:
            RecordError: no run there, a damaged header, or one with a newer schema.
        """
        try:
            content = (path / "run.json").read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise RecordError(f"{path} is not a run: it has no run.json", hint="admlops results list") from error
        except OSError as error:
            raise RecordError(f"{path / 'run.json'} cannot be read: {error.strerror}", hint=f"ls -l {path}") from error
        return cls(path, decode_header(content, where=path / "run.json"))

    @classmethod
    def resume(cls, path: Path, header: RunHeader) -> RunFolder:
        """Return the run in `path`, if resuming it as `header` says would give the records it was started for.

        Raises:
            RecordError: as `open`.
            UsageError: something that affects the records differs; the message names it.
        """
        run = cls.open(path)
        difference = find_difference(run.header, header)
        if difference is not None:
            key, before, now = difference
            raise UsageError(
                f"{path} cannot be resumed: {key} was {shorten(before)} and is {shorten(now)} now",
                hint=find_way_out(run.header, header, key),
            )
        return run

    def relocate(self, header: RunHeader) -> None:
        """Take from `header` where data, configuration, weights and device are now; written with the next state."""
        data = msgspec.structs.replace(self.header.data, root=header.data.root)
        self.header = msgspec.structs.replace(self.header, data=data, settings=header.settings, device=header.device)

    @property
    def records_path(self) -> Path:
        return self.path / "records"

    @property
    def logs_path(self) -> Path:
        return self.path / "logs"

    @property
    def predictions_path(self) -> Path:
        return self.path / "predictions"

    @property
    def events_path(self) -> Path:
        return self.path / "events.jsonl"

    @property
    def telemetry_path(self) -> Path:
        return self.path / "telemetry.jsonl"

    @property
    def metrics_path(self) -> Path:
        return self.path / "metrics.json"

    @property
    def resamples_path(self) -> Path:
        """The metrics in every resample of the scenes, for paired comparisons; not there with too few scenes."""
        return self.path / "resamples.json"

    @property
    def report_path(self) -> Path:
        return self.path / "report.html"

    @property
    def manifest_path(self) -> Path:
        return self.path / MANIFEST_FILE

    @property
    def throughput_path(self) -> Path:
        """What throughput mode tried before this run, and what it chose; not there without it."""
        return self.path / "throughput.json"

    @property
    def order_path(self) -> Path:
        """The order in which records are read where that is not the scenes' own; see `results.reading_order`."""
        return self.path / "order.json"

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for writing; a killed process lets go by itself.

        Raises:
            StorageError: another process holds it, or it cannot be written.
        """
        lock = FileLock(self.path / "run.lock", timeout=LOCK_S)
        try:
            lock.acquire()
        except Timeout as error:
            raise StorageError(
                f"{self.path} is in use by another process",
                hint="wait for that run to end, or choose another --run NAME",
            ) from error
        except OSError as error:
            raise explain_os_error(error, self.path / "run.lock") from error
        try:
            yield
        finally:
            lock.release()

    def begin(self) -> None:
        """Say that this process runs it from now on. Hold `lock()`. Raises StorageError."""
        self.append_event("run_started", host=identify_host(), pid=os.getpid())
        self.update(state="running")

    def end(self, state: RunState, *, error: str | None = None) -> None:
        """Set the state at the end, and write down the error that ended the run if one did. Raises StorageError."""
        self.update(state=state)
        self.append_event("run_ended", state=state, error=error)

    def update(self, *, state: RunState) -> None:
        """Change the state in `run.json`. Raises StorageError."""
        with self._header_lock:
            self.header = msgspec.structs.replace(self.header, state=state)
            self._write_header()

    def mark_beside(self, runs: Sequence[str]) -> None:
        """Say in `run.json` that these runs work on the same device, too. From any thread. Raises StorageError."""
        with self._header_lock:
            beside = list(dict.fromkeys([*self.header.neighbours, *runs]))
            self.header = msgspec.structs.replace(self.header, beside=beside)
            self._write_header()

    def mark_alone(self) -> None:
        """Undo `mark_beside`: nothing is left of what the run did beside others. Raises StorageError."""
        with self._header_lock:
            self.header = msgspec.structs.replace(self.header, beside=msgspec.UNSET)
            self._write_header()

    def mark_engine(self, verification: Mapping[str, Any]) -> None:
        """Say in `run.json` what the last verification of this run's engine found. Hold `lock()`.

        Raises:
            StorageError: it cannot be written.
        """
        engine = {name: value for name, value in (self.header.engine or {}).items() if name != "failed_step"}
        settings = {**self.header.settings, "engine": {**engine, **verification}}
        self.header = msgspec.structs.replace(self.header, settings=settings)
        self._write_header()

    def observe_state(self) -> ObservedState:
        """Return the state as it is: a run whose process is gone is `stopped`, whatever its header says."""
        if self.header.state != "running":
            return self.header.state
        started: dict[str, Any] = next(
            (event for event in reversed(self.events()) if event.get("event") == "run_started"), {}
        )
        return "running" if is_alive(self.path, started.get("host")) else "stopped"

    def scene_writer(self, scene: str, *, attempt: int = 1) -> SceneWriter:
        """A context in which records of a scene are written; attempts at the same time need different numbers."""
        return SceneWriter(self.scene_path(scene), attempt=attempt)

    def remove_unfinished(self) -> None:
        """Remove what a killed process left of scenes in progress. Hold `lock()`. Raises StorageError."""
        try:
            for part in self.records_path.glob("*.part"):
                part.unlink(missing_ok=True)
        except OSError as error:
            raise explain_os_error(error, self.records_path) from error

    def complete_scenes(self) -> list[str]:
        """The scenes whose records are all here, in the run's order."""
        return [scene for scene in self.header.scenes if self.scene_path(scene).exists()]

    def records(self) -> Iterator[Record]:
        """Every record, one scene after the other in the run's order; scenes that are not whole are left out.

        Raises:
            RecordError: a line is not a standard record; the message names file and line.
        """
        for scene in self.complete_scenes():
            yield from self.records_of(scene)

    def records_of(self, scene: str) -> Iterator[Record]:
        """The records of one complete scene, in order. Raises RecordError as `records`."""
        for line, where in self.lines_of(scene):
            yield decode_record(line, where=where)

    def lines_of(self, scene: str) -> Iterator[tuple[bytes, str]]:
        """The records of one complete scene as they stand in its file, each with `file:line` to name it by.

        Raises:
            RecordError: the file cannot be read.
        """
        path = self.scene_path(scene)
        try:
            with path.open("rb", buffering=READ_AT_ONCE_BYTES) as file:
                for number, line in enumerate(file, start=1):
                    yield line, f"{path}:{number}"
        except OSError as error:
            raise RecordError(f"{path} cannot be read: {error.strerror}", hint=f"ls -l {path.parent}") from error

    def size_of(self, scene: str) -> int:
        """The size of the records of a complete scene [bytes]."""
        return self.scene_path(scene).stat().st_size

    def count_statuses(self) -> Counter[str]:
        """Count the samples that are `ok` and `failed`, without validating the records. Raises RecordError."""
        return Counter(status for scene in self.complete_scenes() for _, _, status in self.statuses_of(scene))

    def statuses_of(self, scene: str) -> Iterator[tuple[bytes, str, str]]:
        """Yield (line, sample token, status) of a complete scene; records are not validated. Raises RecordError."""
        for line, metadata in self._metadata_of(scene):
            yield line, metadata.sample_token, metadata.status

    def first_failure(self) -> Failure | None:
        """Return the failure of the first failed record, None if none failed. Raises RecordError."""
        for scene in self.complete_scenes():
            for _, metadata in self._metadata_of(scene):
                if metadata.status == "failed":
                    return metadata.failure
        return None

    def _metadata_of(self, scene: str) -> Iterator[tuple[bytes, _Status]]:
        path = self.scene_path(scene)
        try:
            for line in path.read_bytes().splitlines(keepends=True):
                yield line, _decode_status(line).metadata
        except (OSError, msgspec.DecodeError) as error:
            raise RecordError(f"{path} cannot be read: {error}", hint=f"ls -l {path.parent}") from error

    def append_event(self, kind: str, **facts: Any) -> None:
        """Add a line to `events.jsonl`: `{"t": <unix time, s>, "event": kind, …}`. From any thread."""
        line = json.dumps({"t": round(time.time(), 3), "event": kind, **facts}, separators=(",", ":")) + "\n"
        try:
            with self._events_lock, self.events_path.open("ab", buffering=0) as file:
                file.write(line.encode())
        except OSError as error:
            raise explain_os_error(error, self.events_path) from error

    def events(self) -> list[dict[str, Any]]:
        """The whole lines of `events.jsonl`; a line that a killed process left half written is passed over."""
        try:
            lines = self.events_path.read_bytes().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(event)
        return events

    def write_manifest(self) -> None:
        """Write `manifest.json`, with the sha256 of every finished file. Call it last."""
        write_manifest(self.path)

    def check_manifest(self) -> list[str]:
        """The files that are missing or differ from the manifest. Raises RecordError if there is no readable one."""
        return check_manifest(self.path)

    def scene_path(self, scene: str) -> Path:
        """Return the file of a scene's records."""
        name = quote(scene, safe=" ")
        return self.records_path / f"{'%2E' + name[1:] if name.startswith('.') else name}.jsonl"

    def _write_header(self) -> None:
        write_atomically(self.path / "run.json", encode_header(self.header))


def records_digest(run: RunFolder) -> str:
    """sha256 over all records without the run's name and what was measured: equal runs give equal digests."""
    digest = hashlib.sha256()
    for record in run.records():
        bare = msgspec.to_builtins(record)
        for field in ("run", *REPORTED_FIELDS):
            bare["metadata"].pop(field, None)
        digest.update(msgspec.json.encode(bare) + b"\n")
    return digest.hexdigest()
