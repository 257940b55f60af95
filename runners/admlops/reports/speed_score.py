"""Speed against score: which runs may stand in one chart, and where.

Runs share a chart where a headline score compares (metric, protocol, samples) and where their times do: one device, one
precision. A run without enough timed samples for a median has no place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from admlops.catalog.protocols import LATENCY, headlines_of
from admlops.evaluation.energy.scores import pareto_front
from admlops.pipeline.run_data import RunData
from admlops.reports.summary import SHORT_DIGEST, machine_of

MEDIAN = 0.5


@dataclass(frozen=True, kw_only=True)
class Point:
    """A run: its cost (the median time of the model call [ms], or the energy [J/sample]) and its score."""

    label: str
    index: int
    cost: float
    score: float


@dataclass(frozen=True, kw_only=True)
class SpeedScore:
    """The points of one chart. `note` says what all have in common, `front` which runs no other beats in both."""

    metric: str
    higher_is_better: bool
    note: str
    points: tuple[Point, ...]
    cost: str = "median time of the model call"
    cost_unit: str = "ms"
    front: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return f"{self.metric} against {'median time' if self.cost_unit == 'ms' else 'energy'}"


def list_speed_scores(ran: Sequence[tuple[str, RunData]]) -> list[SpeedScore]:
    """The charts of two or more runs; `ran` are runs with their labels."""
    return _list_charts(ran, _time_of)


def list_energy_scores(ran: Sequence[tuple[str, RunData]]) -> list[SpeedScore]:
    """The charts of two or more runs whose energies were measured in one way, each with its Pareto front."""
    return [
        replace(
            chart,
            cost="energy of a sample",
            cost_unit="J",
            front=tuple(
                pareto_front(
                    {one.label: (one.cost, one.score) for one in chart.points}, higher_is_better=chart.higher_is_better
                )
            ),
        )
        for chart in _list_charts(ran, _energy_of)
    ]


def _list_charts(
    ran: Sequence[tuple[str, RunData]], cost_of: Callable[[RunData], tuple[float, str] | None]
) -> list[SpeedScore]:
    """Chart every headline score that two or more runs have; `cost_of` gives a run's cost, and how it was measured."""
    found: dict[tuple[str, str, str, str], list[tuple[Point, int, bool]]] = {}
    for index, (label, run) in enumerate(ran):
        costs = cost_of(run)
        if costs is None:
            continue
        cost, how = costs
        for metric in run.measured:
            headlines = headlines_of(metric.protocol)
            usable = metric.value is not None and metric.weights is None and metric.protocol != LATENCY
            if usable and metric.name in headlines:
                key = (headlines[metric.name], metric.protocol, metric.dataset, how)
                point = Point(label=label, index=index, cost=cost, score=float(metric.value or 0.0))
                found.setdefault(key, []).append((point, metric.n, metric.higher_is_better))
    return [
        SpeedScore(
            metric=name,
            higher_is_better=points[0][2],
            note=f"{protocol}, n = {points[0][1]}, samples {dataset[:SHORT_DIGEST]}; {how}",
            points=tuple(point for point, _, _ in points),
        )
        for (name, protocol, dataset, how), points in found.items()
        if len(points) > 1
    ]


def _time_of(run: RunData) -> tuple[float, str] | None:
    """The median time of the model call [ms]; on which device, in which precision."""
    time_s = _median(run)
    if time_s is None:
        return None
    precision = (run.latency.precision if run.latency else None) or "unknown precision"
    return 1e3 * time_s, f"on {_device_of(run)}, {precision}"


def _energy_of(run: RunData) -> tuple[float, str] | None:
    """The energy of a sample [J]; by which method, of what, on which device."""
    energy = (run.metrics or {}).get("energy") or {}
    if energy.get("j_per_sample") is None:
        return None
    how = f"{energy['method']}, {energy['basis']}, {energy['scope']}; on {_device_of(run)}"
    return float(energy["j_per_sample"]), how


def _device_of(run: RunData) -> str:
    return machine_of(run) or "an unnamed device"


def _median(run: RunData) -> float | None:
    """The median time of the model call [s], where enough samples carry one."""
    percentiles = run.latency.inference.percentiles if run.latency else ()
    return next((entry.value_s for entry in percentiles if entry.percentile == MEDIAN), None)
