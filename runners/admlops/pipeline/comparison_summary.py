"""What `comparison_summary.json` says: the rows, rankings, differences of every two models, and their battles."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import combinations
from typing import Any

from admlops.catalog.protocols import headlines_of
from admlops.datasets.base import Dataset
from admlops.evaluation.energy.scores import pareto_front
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, compare_evaluated
from admlops.evaluation.statistics.ranking import rankings
from admlops.pipeline.battle import Contender, battle_all, load_contender
from admlops.pipeline.compared import Compared
from admlops.pipeline.comparison_engines import compare_engines, confusions_of
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.results.record import Failure

SUMMARY_SCHEMA = 1


def _is_random(one: Contender) -> bool:
    return one.data.header is not None and one.data.header.random_weights is not None


def summarize(rows: Sequence[Compared], data: Dataset, *, metric: str | None) -> dict[str, Any]:
    """Return the content of `comparison_summary.json`; `metric` is the primary metric of battles."""
    contenders = [load_contender(row.name, row.run) for row in rows if row.run is not None and row.metrics is not None]
    loaded = {one.name: one.data for one in contenders}
    measured: dict[str, list[Metric]] = {
        row.name: metrics_of(row.metrics) for row in rows if row.judged is not None and row.metrics is not None
    }
    models = [_summarize_row(row, loaded.get(row.name)) for row in rows]
    return {
        "schema": SUMMARY_SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"root": str(data.root), "version": data.version, "synthetic": data.is_synthetic},
        "models": models,
        "engines": compare_engines(rows, models),
        "rankings": [asdict(ranking) for ranking in rankings(measured)],
        "paired": _compare_pairs([one for one in contenders if not _is_random(one)]),
        "battles": [one.to_json() for one in battle_all(contenders, metric=metric)],
        "pareto": list_fronts(measured, {row.name: _joules(row) for row in rows}),
    }


def list_fronts(
    measured: Mapping[str, Sequence[Metric]], joules: Mapping[str, tuple[str, float] | None]
) -> list[dict[str, Any]]:
    """The models that no other beats in both a headline and energy, of those whose energy was measured in one way.

    Args:
        measured: the metrics of each model.
        joules: of each model how its energy was measured, and joules a sample; None where it was not.
    """
    fronts = []
    for ranking in rankings(measured):
        if ranking.name not in headlines_of(ranking.protocol):
            continue
        found: dict[str, dict[str, tuple[float, float]]] = {}
        for place in ranking.places:
            known = joules.get(place.model)
            if known is not None:
                found.setdefault(known[0], {})[place.model] = (known[1], place.value)
        for method, points in found.items():
            fronts.append(
                {
                    "metric": ranking.name,
                    "protocol": ranking.protocol,
                    "method": method,
                    "unit": "J/sample",
                    "points": {name: list(point) for name, point in points.items()},
                    "front": pareto_front(points, higher_is_better=ranking.higher_is_better),
                }
            )
    return fronts


def _joules(row: Compared) -> tuple[str, float] | None:
    energy = (row.metrics or {}).get("energy") or {}
    value = energy.get("j_per_sample")
    return None if value is None else (f"{energy['method']}, {energy['basis']}, {energy['scope']}", float(value))


def _compare_pairs(contenders: Sequence[Contender]) -> list[dict[str, Any]]:
    """The headlines of every two models that share a protocol over the same samples, b - a."""
    pairs = []
    for a, b in combinations(contenders, 2):
        if _shares(a.evaluated, b.evaluated):
            pairs += [
                {"models": [a.name, b.name], **one.to_json()}
                for one in compare_evaluated(a.evaluated, b.evaluated)
                if one.metric in headlines_of(one.protocol)
            ]
    return pairs


def _shares(a: EvaluatedRun, b: EvaluatedRun) -> bool:
    keys = [{metric.key for metric in run.metrics if metric.name in headlines_of(metric.protocol)} for run in (a, b)]
    same_samples = {metric.dataset for metric in a.metrics} == {metric.dataset for metric in b.metrics}
    return same_samples and bool(keys[0] & keys[1])


def _summarize_row(row: Compared, loaded: RunData | None) -> dict[str, Any]:
    """What a row says of itself; `loaded` is its run if that was read already."""
    published = [claim.model_dump(exclude_none=True) for claim in row.claims]
    summary: dict[str, Any] = {
        "model": row.name,
        "state": row.state,
        "status": row.status,
        "why": row.why,
        "hint": row.hint,
        "published": published,
    }
    if row.run is None:
        return summary
    loaded = loaded or load_run_data(row.run)
    failures = Counter(meta.failure.kind for meta in loaded.samples if isinstance(meta.failure, Failure))
    gpu_mb = [meta.gpu_memory_used for meta in loaded.samples if meta.gpu_memory_used is not None]
    host_mb = [reading.worker_memory_mb for reading in loaded.telemetry if reading.worker_memory_mb is not None]
    summary |= {
        "run": row.run.header.run,
        "variant": row.run.header.variant,
        "random_weights": row.run.header.random_weights,
        "engine": row.run.header.engine,
        "unverified_engine": row.run.header.unverified_engine,
        "precision": None if loaded.latency is None else loaded.latency.precision,
        "samples": len(loaded.samples),
        "samples_sha256": row.run.header.data.samples_sha256,
        "metrics": [] if row.metrics is None else row.metrics["metrics"],
        "latency": None if loaded.latency is None else loaded.latency.to_json(),
        "memory": {
            "gpu_peak_mb": max(gpu_mb, default=None),
            "worker_peak_mb": max(host_mb, default=None),
        },
        "energy_j": loaded.energy_j,
        "energy": None if row.metrics is None else row.metrics.get("energy"),
        "failures": dict(failures),
        "confusion": confusions_of(row.metrics or {}),
    }
    return summary
