"""One model by several engines or with several weights, side by side: times, memory, size, confusion, agreement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from admlops.deployment.matching import Matched, match_runs
from admlops.pipeline.compared import Compared
from admlops.results.run_folder import RunFolder

PERCENTILES = {"median_ms": "p50", "p90_ms": "p90", "p95_ms": "p95", "p99_ms": "p99"}
"""The name here → that in a latency. Each is there only if there are enough samples for it."""
PYTORCH = "torch"


def compare_engines(rows: Sequence[Compared], summaries: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return a group for each model that ran by several engines, or with several weights, on the same samples.

    Args:
        rows: the rows of a comparison.
        summaries: what `comparison_summary.json` says of each.
    """
    groups: dict[tuple[str, str], list[tuple[Compared, Mapping[str, Any]]]] = {}
    for row, summary in zip(rows, summaries, strict=True):
        if row.run is not None and row.metrics is not None and not row.run.header.is_submission:
            header = row.run.header
            groups.setdefault((header.model, header.data.samples_sha256), []).append((row, summary))
    return [
        _group(model, samples, own)
        for (model, samples), own in groups.items()
        if len(own) > 1 and _differ([row.run for row, _ in own if row.run is not None])
    ]


def _differ(runs: Sequence[RunFolder]) -> bool:
    """Tell whether an engine executed one of them, or PyTorch with several weights."""
    weights = {run.header.provenance.checkpoint_sha256 for run in runs}
    return any(run.header.engine for run in runs) or len(weights) > 1


def _group(model: str, samples: str, own: Sequence[tuple[Compared, Mapping[str, Any]]]) -> dict[str, Any]:
    return {
        "model": model,
        "samples": own[0][1]["samples"],
        "samples_sha256": samples,
        "engines": [_describe(row, summary) for row, summary in own],
        "agreement": _agree([row for row, _ in own]),
    }


def _describe(row: Compared, summary: Mapping[str, Any]) -> dict[str, Any]:
    assert row.run is not None, "only rows with a run are grouped"
    header = row.run.header
    engine = header.engine or {}
    return {
        "name": row.name,
        "run": header.run,
        "engine": header.execution or PYTORCH,
        "provider": engine.get("provider"),
        "verified": engine.get("verified"),
        "checkpoint": header.provenance.checkpoint_sha256,
        "file_bytes": engine.get("size_bytes") or _size(header.settings.get("checkpoint")),
        "latency": _times(summary.get("latency")),
        "memory": summary["memory"],
        "confusion": confusions_of(row.metrics or {}),
    }


def _size(path: object) -> int | None:
    """The size of the weights that PyTorch loaded, where they are still there [bytes]."""
    file = Path(path) if isinstance(path, str) else None
    return file.stat().st_size if file is not None and file.is_file() else None


def _times(latency: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return times of the model call [ms] without first frames of scenes; percentiles only with enough samples."""
    inference = (latency or {}).get("inference") or {}
    found: dict[str, Any] = {"n": inference.get("n", 0)}
    for name in ("mean", "min", "max"):
        value = inference.get(f"{name}_s")
        found[f"{name}_ms"] = None if value is None else 1e3 * value
    for name, key in PERCENTILES.items():
        value = inference.get("percentiles", {}).get(key)
        found[name] = None if value is None else 1e3 * value["value_s"]
    return found


def confusions_of(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Return the confusion matrices of classifiers by task: a row is a true class, a column a predicted one."""
    details = metrics.get("details", {})
    return {
        task: {"classes": own["labels"], "matrix": own["confusion"]}
        for task, own in details.items()
        if isinstance(own, Mapping) and "confusion" in own and "labels" in own
    }


def _agree(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """Return a symmetric matrix per task: the share of equal labels, or of outputs that have a counterpart."""
    names = [row.name for row in rows]
    found: dict[str, dict[tuple[int, int], Matched]] = {}
    for i, j in combinations(range(len(rows)), 2):
        first, second = rows[i].run, rows[j].run
        assert first is not None, "only rows with a run are grouped"
        assert second is not None, "only rows with a run are grouped"
        for one in match_runs(first.records(), second.records()):
            found.setdefault(one.task, {})[i, j] = one
    return [_matrix(task, names, pairs) for task, pairs in found.items()]


def _matrix(task: str, names: Sequence[str], pairs: Mapping[tuple[int, int], Matched]) -> dict[str, Any]:
    shares: list[list[float | None]] = [[1.0 if i == j else None for j in range(len(names))] for i in range(len(names))]
    for (i, j), one in pairs.items():
        shares[i][j] = shares[j][i] = one.agreement
    some = next(iter(pairs.values()))
    return {
        "task": task,
        "names": list(names),
        "measure": "equal labels" if some.has_labels else "outputs matched",
        "outputs": max(one.outputs for one in pairs.values()),
        "shares": shares,
    }
