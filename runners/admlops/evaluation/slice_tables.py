"""The slices of the data that `metrics.json` has, as tables: by scene, distance, visibility, light or weather."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.catalog.protocols import find_evaluation

KINDS = ("scene", "distance", "visibility", "light", "weather", "geography", "town", "tag")
"""What a data set can be sliced by."""

CONDITIONS = {"light": ("day", "night"), "weather": ("dry", "rain")}
COUNTS = {"samples": "samples", "ground_truth": "boxes", "recall": "recall"}
"""Columns before the metrics: name in `metrics.json` → heading."""


@dataclass(frozen=True, kw_only=True)
class SliceTable:
    """One task under one protocol, sliced by one of KINDS: a row for each slice, None where there is no value.

    The first of `columns` counts what the slice has: samples, or annotated boxes. `reason` says why there are no rows.
    """

    task: str
    protocol: str
    kind: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[float | None, ...]], ...]
    reason: str | None = None


def find_tables(details: Mapping[str, Any], kinds: Sequence[str]) -> list[SliceTable]:
    """Return the tables of every task that is sliced by one of `kinds`, kind after kind.

    Args:
        details: `details` of a run's `metrics.json`.
    """
    tasks = {task: entry["breakdowns"] for task, entry in details.items() if "breakdowns" in entry}
    return [
        table for kind in kinds for task, own in tasks.items() if (table := _find_table(task, own, kind)) is not None
    ]


def _find_table(task: str, breakdowns: Mapping[str, Any], kind: str) -> SliceTable | None:
    found = breakdowns.get("conditions" if kind in CONDITIONS else kind)
    if not found:
        return None
    if "reason" in found:
        return SliceTable(
            task=task, protocol=breakdowns["protocol"], kind=kind, columns=(), rows=(), reason=found["reason"]
        )
    flat = {
        name: _flatten(found[name], breakdowns["protocol"]) for name in CONDITIONS.get(kind, found) if name in found
    }
    columns = tuple(dict.fromkeys(column for row in flat.values() for column in row))
    return SliceTable(
        task=task,
        protocol=breakdowns["protocol"],
        kind=kind,
        columns=columns,
        rows=tuple((name, tuple(row.get(column) for column in columns)) for name, row in flat.items()),
    )


def _flatten(own: Mapping[str, Any], protocol: str) -> dict[str, float | None]:
    """Counts first, then the metrics that the evaluation shows in tables; all of them where it names none."""
    counts = {heading: own[name] for name, heading in COUNTS.items() if name in own}
    evaluation = find_evaluation(protocol)
    columns = () if evaluation is None else evaluation.columns
    if not columns:
        return {**counts, **{name: value for name, value in own.items() if name not in COUNTS}}
    for column in columns:
        *tables, name = column.path or (column.metric,)
        table: Mapping[str, Any] = own
        for key in tables:
            table = table.get(key, {})
        if name in table:
            counts[column.metric] = table[name]
    return counts
