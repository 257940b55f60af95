"""The values of classes and of slices of the data, as `metrics.json` has them, in one shape."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from admlops.catalog.protocols import find_evaluation, find_metric
from admlops.evaluation.slice_tables import KINDS, find_tables

CLASS = "class"
PARTS = (CLASS, *KINDS)
"""What a table can be by: the classes, or the slices of the data."""

CLASS_ERRORS = {"trans_err": "ATE", "scale_err": "ASE", "orient_err": "AOE", "vel_err": "AVE", "attr_err": "AAE"}
"""The devkit's name of an error of one class → the name that papers use; their means over classes begin with m."""

COUNTS = ("samples", "boxes")
"""Columns of slices that count what is in them."""


Part = tuple[int | None, Mapping[str, float | None]]
"""What a part of the data has: its count and its values by metric."""


def find_parts(metrics: Mapping[str, Any], by: str) -> Iterable[tuple[str, str, dict[str, Part]]]:
    """Yield (protocol, what a part is counted in, parts by name) of every task that has such parts.

    Args:
        metrics: a run's `metrics.json`.
        by: one of `PARTS`.
    """
    details = metrics.get("details", {})
    if by == CLASS:
        yield from _find_classes(metrics, details)
        return
    for table in find_tables(details, [by]):
        if table.rows:
            counted = next((name for name in COUNTS if name in table.columns), "")
            yield (
                table.protocol,
                counted,
                {name: _part(dict(zip(table.columns, values, strict=True)), counted) for name, values in table.rows},
            )


def _part(values: Mapping[str, float | None], counted: str) -> Part:
    count = values.get(counted)
    return None if count is None else int(count), {name: one for name, one in values.items() if name not in COUNTS}


def _find_classes(metrics: Mapping[str, Any], details: Mapping[str, Any]) -> Iterable[tuple[str, str, dict[str, Part]]]:
    """Classes as an evaluation lists them in its details, else as its metrics name them (`AP_{class}`)."""
    for protocol in dict.fromkeys(str(one["protocol"]) for one in metrics["metrics"]):
        evaluation = find_evaluation(protocol)
        if evaluation is None:
            continue
        listed = details.get(evaluation.id, {}).get("classes")
        if isinstance(listed, Mapping):
            yield protocol, "boxes" if evaluation.task == "detection_3d" else "elements", _listed_classes(listed)
            continue
        named = _named_classes(metrics, protocol)
        if named:
            yield protocol, "", named


def _listed_classes(listed: Mapping[str, Any]) -> dict[str, Part]:
    parts: dict[str, Part] = {}
    for name, entry in listed.items():
        scores = [score for score in entry.get("ap", {}).values() if score is not None]
        mean = entry.get("mean_ap", sum(scores) / len(scores) if scores else None)
        errors = {paper: entry["errors"][own] for own, paper in CLASS_ERRORS.items() if own in entry.get("errors", {})}
        parts[name] = (entry.get("ground_truth"), {"AP": mean, **errors})
    return parts


def _named_classes(metrics: Mapping[str, Any], protocol: str) -> dict[str, Part]:
    found: dict[str, dict[str, float | None]] = {}
    for one in metrics["metrics"]:
        known = find_metric(protocol, one["name"]) if one["protocol"] == protocol else None
        if known is None or "{class}" not in known.name:
            continue
        begin, _, end = known.name.partition("{class}")
        name = one["name"][len(begin) : len(one["name"]) - len(end)]
        found.setdefault(name, {})[begin.rstrip("_") or known.name] = one["value"]
    return {name: (None, values) for name, values in found.items()}
