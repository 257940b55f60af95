"""A DuckDB index over all runs, `runs/index.duckdb`: tables `runs`, `samples`, `metrics` and `skipped`.

The files of the runs are the truth; the index is made from them in one go and can be thrown away. A run whose files
are broken or of a newer schema is one row of `skipped` and is nowhere else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import duckdb

from admlops.core.errors import RecordError, StorageError
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error
from admlops.results.database import append_rows, create_table
from admlops.results.replacing import replacing
from admlops.results.run_folder import RunFolder
from admlops.results.runs import SkippedRun, list_runs
from admlops.results.tables import SAMPLE_COLUMNS, Columns, Row, sample_rows

INDEX_NAME = "index.duckdb"
METRICS_SCHEMA_VERSION = 1
RUN_COLUMNS: Columns = MappingProxyType(
    {
        **dict.fromkeys(("run", "model", "variant", "state", "created", "environment_digest", "backend"), "VARCHAR"),
        **dict.fromkeys(("code_commit", "data_version", "split", "samples_sha256"), "VARCHAR"),
        "synthetic": "BOOLEAN",
        **dict.fromkeys(("scenes", "complete_scenes", "samples", "failed_samples"), "INTEGER"),
        "folder": "VARCHAR",
    }
)
METRIC_COLUMNS: Columns = MappingProxyType(
    {
        **dict.fromkeys(("run", "name", "protocol"), "VARCHAR"),
        "value": "DOUBLE",
        "n": "INTEGER",
        **dict.fromkeys(("interval_low", "interval_high"), "DOUBLE"),
        **dict.fromkeys(("samples_sha256", "device"), "VARCHAR"),
    }
)
SKIPPED_COLUMNS: Columns = MappingProxyType({"folder": "VARCHAR", "reason": "VARCHAR"})
_TABLES: Mapping[str, Columns] = MappingProxyType(
    {"runs": RUN_COLUMNS, "samples": SAMPLE_COLUMNS, "metrics": METRIC_COLUMNS, "skipped": SKIPPED_COLUMNS}
)


@dataclass(frozen=True, kw_only=True)
class Index:
    """What was indexed: the file, how much is in it, and what is not."""

    file: Path
    runs: int
    samples: int
    skipped: tuple[SkippedRun, ...]


def build_index(layout: Layout) -> Index:
    """Make the index anew from the runs' files; the old one stays until the new one is whole.

    Raises:
        StorageError: the folder cannot be written or the disk is full.
    """
    runs, skipped = list_runs(layout)
    file = layout.runs / INDEX_NAME
    try:
        layout.runs.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_os_error(error, file) from error
    with replacing(file) as temporary:
        rows = _Rows(temporary.parent)
        for run in runs:
            try:
                rows.add(run)
            except RecordError as error:
                skipped.append(SkippedRun(folder=run.path, reason=error.message))
        rows.append("skipped", ((str(one.folder), one.reason) for one in skipped))
        rows.load(temporary)
    return Index(file=file, runs=rows.runs, samples=rows.samples, skipped=tuple(skipped))


def read_metrics(run: RunFolder) -> dict[str, Any] | None:
    """The run's `metrics.json`; None if it was never evaluated.

    Raises:
        RecordError: it is damaged or of a newer schema.
    """
    file = run.metrics_path
    try:
        metrics = json.loads(file.read_bytes())
        version = metrics["schema"]
        if version == METRICS_SCHEMA_VERSION:
            list(_metric_rows(run, metrics))
            return dict(metrics)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(
            f"{file} is damaged: {type(error).__name__} {error}", hint=f"admlops evaluate {run.path.name}"
        ) from error
    raise RecordError(
        f"{file} was written with metrics schema {version}; this admlops reads up to {METRICS_SCHEMA_VERSION}",
        hint="git pull && make setup   # then run the command again",
    )


class _Rows:
    """Gathers the rows of every table in files of their own, then loads them all."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.runs = 0
        self.samples = 0
        for table in _TABLES:
            self._file(table).touch()

    def add(self, run: RunFolder) -> None:
        """All rows of one run. Raises RecordError before anything is written if one of its files is broken."""
        samples = [row for record in run.records() for row in sample_rows(record)]
        metrics = list(_metric_rows(run, read_metrics(run) or {"metrics": []}))
        status = list(SAMPLE_COLUMNS).index("status")
        failed = sum(row[status] == "failed" for row in samples)
        self.runs += self.append("runs", [_run_row(run, samples=len(samples), failed=failed)])
        self.samples += self.append("samples", samples)
        self.append("metrics", metrics)

    def append(self, table: str, rows: Iterable[Row]) -> int:
        return append_rows(self._file(table), _TABLES[table], rows)

    def load(self, database: Path) -> None:
        """Make a database with every table. Raises StorageError."""
        try:
            with duckdb.connect(str(database)) as connection:
                for table, columns in _TABLES.items():
                    create_table(connection, table, columns, self._file(table))
        except duckdb.IOException as error:
            raise StorageError(
                f"{database} could not be written: {error}",
                hint="df -h   # free some space, then run the command again",
            ) from error

    def _file(self, table: str) -> Path:
        return self._folder / f"{table}.jsonl"


def _run_row(run: RunFolder, *, samples: int, failed: int) -> Row:
    header = run.header
    environment, data = header.environment, header.data
    return (
        run.path.name,
        header.model,
        header.variant,
        run.observe_state(),
        header.created,
        environment.digest,
        environment.backend,
        header.provenance.commit,
        data.version,
        data.split,
        data.samples_sha256,
        data.synthetic,
        len(header.scenes),
        len(run.complete_scenes()),
        samples,
        failed,
        str(run.path),
    )


def _metric_rows(run: RunFolder, metrics: Mapping[str, Any]) -> Iterator[Row]:
    """Rows of `metrics.json`. Raises KeyError, TypeError or ValueError where it is not as it should be."""
    for metric in metrics["metrics"]:
        low, high = metric["interval"] or (None, None)
        value = None if metric["value"] is None else float(metric["value"])
        data = metrics["data"]["samples_sha256"]
        device = metric.get("device")
        yield (run.path.name, metric["name"], metric["protocol"], value, metric["n"], low, high, data, device)
