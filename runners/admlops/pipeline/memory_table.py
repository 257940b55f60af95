"""What a worker of a model takes, measured once on each kind of device: `memory.json` in the repository folder.

A row is found by all that memory depends on: model, variant, engine, precision, device, samples at once, configuration
and options. Megabytes are 10⁶ bytes. Only a run that had its device to itself is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from admlops.core.errors import StorageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.core.types import Say
from admlops.pipeline.run_request import AUTO_BATCH
from admlops.results.header import RunHeader

TABLE_SCHEMA = 1
LOCK_S = 10.0
CONTEXT_MB = 600.0
"""What the driver takes for a process that uses CUDA, where NVML could not show it: assumed, usually 300 to 600 MB."""


class MemoryKey(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the memory of a worker depends on. `device` is a model of GPU, or the processor's name.

    `prefetch` is how many processes read ahead for a worker: their memory counts as its own. `config` is the beginning
    of the sha256 of the configuration's content, `options` those that the adapter was given.
    """

    model: str
    variant: str
    engine: str
    precision: str
    device: str
    batch: str
    prefetch: str
    config: str
    options: str


class MemoryRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One worker's peaks over `samples` samples of `run` [MB], and the cores that it kept busy.

    `device_mb` is how much the GPU's total grew, by NVML: the process's context is in it. `reserved_mb` is what the
    runtime's allocator held. Both are None on a CPU, and each if it was not reported. `cores` is None after one sample.
    `adapter` is the digest of the adapter's code.
    """

    key: MemoryKey
    device_mb: float | None
    reserved_mb: float | None
    host_mb: float
    cores: float | None
    samples: int
    run: str
    adapter: str
    measured: str

    @property
    def gpu_mb(self) -> float | None:
        """What a worker takes of a GPU's memory; None on a CPU, or if neither NVML nor the runtime reported it."""
        if self.reserved_mb is None:
            return self.device_mb
        return max(self.device_mb or 0.0, self.reserved_mb + (CONTEXT_MB if self.device_mb is None else 0.0))


class _Table(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    schema: int
    rows: list[MemoryRow] = []


_decode = msgspec.json.Decoder(_Table).decode


@dataclass(frozen=True, kw_only=True)
class MemoryTable:
    """The table in a repository folder. It is read anew each time: other processes write it, too."""

    path: Path

    @classmethod
    def of(cls, layout: Layout) -> MemoryTable:
        """Return the table of a repository folder, which may not be there yet."""
        return cls(path=layout.repository / "memory.json")

    def rows(self) -> list[MemoryRow]:
        """Return all rows, in order of model and device.

        Raises:
            StorageError: the file is damaged, or of a newer admlops.
        """
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self.path} cannot be read: {error.strerror}", hint=f"ls -l {self.path}") from error
        try:
            table = _decode(content)
        except msgspec.DecodeError as error:
            raise StorageError(
                f"{self.path}, which says how much memory models take, is damaged: {error}",
                hint=f"rm {self.path}   # the next run of each model measures it again",
            ) from error
        if table.schema > TABLE_SCHEMA:
            raise StorageError(
                f"{self.path} was written with schema {table.schema}; this admlops reads up to {TABLE_SCHEMA}",
                hint="git pull && make setup   # then run the command again",
            )
        return table.rows

    def find(self, key: MemoryKey) -> MemoryRow | None:
        """Return the row of a worker that was measured; None if none was. Raises StorageError as `rows`."""
        return next((row for row in self.rows() if row.key == key), None)

    def note(self, row: MemoryRow, *, say: Say) -> None:
        """Add a row, or raise the existing one: peaks only grow while the adapter's code stays the same.

        Raises:
            StorageError: as `rows`; or the disk is full, the folder read-only, or the table locked for long.
        """
        lock = self.path.with_name(f".{self.path.name}.lock")
        with hold(lock, what="writing down what a model takes", say=say, timeout_s=LOCK_S):
            rows = self.rows()
            before = next((one for one in rows if one.key == row.key), None)
            joined = row if before is None or before.adapter != row.adapter else _join(before, row)
            kept = [one for one in rows if one.key != row.key]
            ordered = sorted([*kept, joined], key=lambda one: msgspec.structs.astuple(one.key))
            content = msgspec.json.encode(_Table(schema=TABLE_SCHEMA, rows=ordered))
            write_atomically(self.path, msgspec.json.format(content, indent=1) + b"\n")


def key_of(header: RunHeader) -> MemoryKey:
    """Return what the memory of a run's workers depends on."""
    own = header.settings.get("options")
    options = {} if not isinstance(own, dict) else {name: value for name, value in own.items() if name != "weights"}
    return MemoryKey(
        model=header.model,
        variant=header.variant,
        engine=header.execution,
        precision=str(header.settings.get("precision", "authors")),
        device=header.device.name if header.device is not None else header.gpu or header.device_kind,
        batch=str(header.settings.get("batch", 1)),
        prefetch=str(header.options.get("prefetch", 0)),
        config=(header.provenance.config_sha256 or "")[:12],
        options=", ".join(f"{name}={options[name]}" for name in sorted(options)),
    )


def authors_rows(rows: Sequence[MemoryRow], model: str) -> list[MemoryRow]:
    """Return the rows of a model as its authors run it: no engine, their precision, one sample at once."""
    usual = (model, "", "authors", "1")
    return [row for row in rows if (row.key.model, row.key.engine, row.key.precision, row.key.batch) == usual]


def is_measured_with(key: MemoryKey) -> bool:
    """Tell whether a worker of this kind takes the same each time: with batches of its own choice it does not."""
    return key.batch != AUTO_BATCH


def _join(before: MemoryRow, now: MemoryRow) -> MemoryRow:
    return msgspec.structs.replace(
        now,
        device_mb=_greater(before.device_mb, now.device_mb),
        reserved_mb=_greater(before.reserved_mb, now.reserved_mb),
        host_mb=max(before.host_mb, now.host_mb),
        cores=_greater(before.cores, now.cores),
        samples=now.samples if before.run == now.run else before.samples + now.samples,
    )


def _greater(a: float | None, b: float | None) -> float | None:
    return max((one for one in (a, b) if one is not None), default=None)
