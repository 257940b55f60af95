"""Curves of a run's telemetry, thinned out for a screen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from admlops.pipeline.run_data import Reading, read_telemetry

MOST_POINTS = 600

Line = tuple[str, Callable[[Reading], float | None]]

CHARTS: tuple[tuple[str, str, tuple[Line, ...]], ...] = (
    (
        "Use",
        "%",
        (
            ("GPU", lambda one: one.gpu_percent),
            ("Processor", lambda one: one.cpu_percent),
        ),
    ),
    (
        "Memory",
        "GB",
        (
            ("GPU", lambda one: None if one.gpu_memory_mb is None else one.gpu_memory_mb / 1000),
            ("Workers", lambda one: None if one.worker_memory_mb is None else one.worker_memory_mb / 1000),
        ),
    ),
    ("Power of the GPUs", "W", (("Power", lambda one: one.power_w),)),
)


def read_curves(path: Path) -> list[dict[str, Any]]:
    """Return the charts that a run has values for: `{title, unit, x [s since it began], series [{label, values, …}]}`.

    Of many readings each point is the mean of some that follow each other; `low`, `mean` and `high` are over all.
    """
    readings = read_telemetry(path, [])
    groups = _group(readings)
    x = [round(sum(one.t for one in group) / len(group), 2) for group in groups]
    charts = []
    for title, unit, lines in CHARTS:
        series = [_series(label, value, readings, groups) for label, value in lines]
        known = [one for one in series if one is not None]
        if known:
            charts.append({"title": title, "unit": unit, "x": x, "series": known})
    return charts


def _group(readings: Sequence[Reading]) -> list[Sequence[Reading]]:
    size = max(1, -(-len(readings) // MOST_POINTS))
    return [readings[start : start + size] for start in range(0, len(readings), size)]


def _series(
    label: str,
    value: Callable[[Reading], float | None],
    readings: Sequence[Reading],
    groups: Sequence[Sequence[Reading]],
) -> dict[str, Any] | None:
    known = [found for one in readings if (found := value(one)) is not None]
    if not known:
        return None
    return {
        "label": label,
        "values": [_mean([found for one in group if (found := value(one)) is not None]) for group in groups],
        "low": min(known),
        "mean": sum(known) / len(known),
        "high": max(known),
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
