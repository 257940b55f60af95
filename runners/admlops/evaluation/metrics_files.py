"""The files that an evaluation writes into a run's folder: metrics, resampled values, numbers of chosen samples."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.storage import write_atomically
from admlops.evaluation.statistics.bootstrap import Values
from admlops.results.run_folder import RunFolder

METRICS_SCHEMA = 1
WHERE_FOLDER = "where"


def where_path(run: RunFolder, samples_sha256: str) -> Path:
    """The file with the numbers of samples that were chosen when evaluating: beside metrics.json, not in its place."""
    return run.path / WHERE_FOLDER / f"{samples_sha256[:16]}.json"


def write_metrics(run: RunFolder, metrics: Mapping[str, Any], resamples: Mapping[str, Mapping[str, Values]]) -> None:
    """Write metrics.json, and the resampled values by protocol for paired comparisons with other runs.

    Without resampled values an older file of them is removed.
    """
    values = {
        protocol: {name: column.tolist() for name, column in columns.items()}
        for protocol, columns in resamples.items()
        if columns
    }
    content = _encode(metrics)
    if values:
        digest = metrics["data"]["samples_sha256"]
        shape = {"schema": METRICS_SCHEMA, "samples_sha256": digest, "resamples": values}
        write_atomically(run.resamples_path, msgspec.json.encode(shape))
    else:
        run.resamples_path.unlink(missing_ok=True)
    write_atomically(run.metrics_path, content)


def write_chosen(run: RunFolder, metrics: Mapping[str, Any]) -> None:
    """Write the numbers of samples that were chosen when evaluating."""
    target = where_path(run, metrics["data"]["samples_sha256"])
    content = _encode(metrics)
    target.parent.mkdir(exist_ok=True)
    write_atomically(target, content)


def _encode(metrics: Mapping[str, Any]) -> bytes:
    return (json.dumps(metrics, indent=1, allow_nan=False) + "\n").encode()
