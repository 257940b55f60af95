"""What jobs answer: metrics with their units, and where reports are."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from admlops.catalog.protocols import find_metric
from admlops.core.paths import Layout
from admlops.datasets.base import Dataset
from admlops.pipeline.run_data import load_run_data
from admlops.reports import write_report
from admlops.results.run_folder import RunFolder


def describe_metrics(metrics: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """Return the metrics of `metrics.json` as `{name, protocol, value, unit, n, interval}`."""
    return [{**one, "unit": _unit(one)} for one in (metrics or {}).get("metrics", ())]


def _unit(metric: Mapping[str, Any]) -> str:
    known = find_metric(metric["protocol"], metric["name"])
    return "" if known is None else known.unit


def describe_run(run: RunFolder, metrics: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what every job about a run answers: `{run, model, variant, samples, failed, metrics, …}`."""
    counts = run.count_statuses()
    return {
        "run": run.path.name,
        "model": run.header.model,
        "variant": run.header.variant,
        "state": run.header.state,
        "samples": counts.total(),
        "failed": counts["failed"],
        "samples_sha256": run.header.data.samples_sha256,
        "metrics": describe_metrics(metrics),
        "latency": (metrics or {}).get("latency"),
        "energy": (metrics or {}).get("energy"),
        "notes": list((metrics or {}).get("notes", ())),
        "not_evaluated": list((metrics or {}).get("not_evaluated", ())),
    }


def write_run_report(layout: Layout, run: RunFolder, data: Dataset) -> str:
    """Write a run's report and return its path. The caller holds `run.lock()`. Raises StorageError."""
    path = write_report(run.report_path, [load_run_data(run)], None, data=data)
    run.write_manifest()
    return relative(layout, path)


def relative(layout: Layout, path: Path) -> str:
    """Return a path as seen from the repository folder."""
    return str(path.relative_to(layout.repository)) if path.is_relative_to(layout.repository) else str(path)
