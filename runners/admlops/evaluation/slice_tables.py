"""The parts of a data set that `metrics.json` has, as tables: by scene, distance, visibility, light or weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.evaluation.metrics import ERROR_NAMES

KINDS = ("scene", "distance", "visibility", "light", "weather")
"""What a data set can be parted by."""

CONDITIONS = {"light": ("day", "night"), "weather": ("dry", "rain")}
COUNTS = {"samples": "samples", "ground_truth": "boxes", "recall": "recall"}
"""Columns before the metrics: name in `metrics.json` → heading."""

LEFT_OUT = ("obj_col_",)
"""Metrics by the beginning of their name that no paper reports, to keep tables narrow."""


@dataclass(frozen=True, kw_only=True)
class PartsTable:
    """One task under one protocol, parted by one of KINDS: a row for each part, None where there is no value.

    The first of `columns` counts what the part has: samples, or annotated boxes. `reason` says why there are no rows.
    """

    task: str
    protocol: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    reason: str | None = None


def find_tables(details: Mapping[str, Any], kinds: Sequence[str]) -> list[PartsTable]:
    """The tables of every task that can be parted by one of `kinds`, kind after kind.

    Args:
        details: `details` of a run's `metrics.json`.
    """
    tasks = {task: entry["breakdowns"] for task, entry in details.items() if "breakdowns" in entry}
    return [
        table for kind in kinds for task, own in tasks.items() if (table := _find_table(task, own, kind)) is not None
    ]


def _find_table(task: str, breakdowns: Mapping[str, Any], kind: str) -> PartsTable | None:
    found = breakdowns.get("conditions" if kind in CONDITIONS else kind)
    if not found:
        return None
    if "reason" in found:
        return PartsTable(
            task=task, protocol=breakdowns["protocol"], kind=kind, columns=(), rows=(), reason=found["reason"]
        )
    flat = {name: _flatten(found[name]) for name in CONDITIONS.get(kind, found) if name in found}
    columns = tuple(dict.fromkeys(column for row in flat.values() for column in row))
    return PartsTable(
        task=task,
        protocol=breakdowns["protocol"],
        kind=kind,
        columns=columns,
        rows=tuple((name, tuple(row.get(column) for column in columns)) for name, row in flat.items()),
    )


def _flatten(part: Mapping[str, Any]) -> dict[str, float | None]:
    """Counts first, then metrics; the errors of boxes by the names that papers use."""
    counts = {heading: part[name] for name, heading in COUNTS.items() if name in part}
    if "errors" in part:
        errors = {paper: part["errors"].get(name) for name, paper in ERROR_NAMES.items()}
        return {**counts, "mAP": part["mAP"], "NDS": part["NDS"], **errors}
    metrics = {name: value for name, value in part.items() if name not in COUNTS and not name.startswith(LEFT_OUT)}
    return {**counts, **metrics}
