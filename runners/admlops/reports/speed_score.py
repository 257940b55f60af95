"""Speed against score: which runs may stand in one chart, and where.

Runs share a chart where a headline score compares (metric, protocol, samples) and where their times do: one device, one
precision. A run without enough timed samples for a median has no place.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    unit: str
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
    found: dict[tuple[str, str, str, str, str], list[tuple[Point, int, bool]]] = {}
    for index, (label, run) in enumerate(ran):
        time_s = _median(run)
        if time_s is None:
            continue
        device = machine_of(run) or "an unnamed device"
        precision = (run.latency.precision if run.latency else None) or "unknown precision"
        for metric in run.measured:
            headlines = headlines_of(metric.protocol)
            usable = metric.value is not None and metric.weights is None and metric.protocol != LATENCY
            if usable and metric.name in headlines:
                key = (headlines[metric.name], metric.protocol, metric.dataset, device, precision)
                point = Point(label=label, index=index, cost=1e3 * time_s, score=float(metric.value or 0.0))
                found.setdefault(key, []).append((point, metric.n, metric.higher_is_better))
    return [
        SpeedScore(
            metric=name,
            unit="",
            higher_is_better=points[0][2],
            note=f"{protocol}, n = {points[0][1]}, samples {dataset[:SHORT_DIGEST]}; on {device}, {precision}",
            points=tuple(point for point, _, _ in points),
        )
        for (name, protocol, dataset, device, precision), points in found.items()
        if len(points) > 1
    ]


def list_energy_scores(ran: Sequence[tuple[str, RunData]]) -> list[SpeedScore]:
    """The charts of two or more runs whose energies were measured in one way, each with its Pareto front."""
    found: dict[tuple[str, str, str, str], list[tuple[Point, int, bool]]] = {}
    for index, (label, run) in enumerate(ran):
        energy = (run.metrics or {}).get("energy") or {}
        joules = energy.get("j_per_sample")
        if joules is None:
            continue
        how = f"{energy['method']}, {energy['basis']}, {energy['scope']}; on {machine_of(run) or 'an unnamed device'}"
        for metric in run.measured:
            headlines = headlines_of(metric.protocol)
            if metric.value is not None and metric.weights is None and metric.name in headlines:
                key = (headlines[metric.name], metric.protocol, metric.dataset, how)
                point = Point(label=label, index=index, cost=float(joules), score=float(metric.value))
                found.setdefault(key, []).append((point, metric.n, metric.higher_is_better))
    return [
        SpeedScore(
            metric=name,
            unit="",
            higher_is_better=points[0][2],
            note=f"{protocol}, n = {points[0][1]}, samples {dataset[:SHORT_DIGEST]}; {how}",
            points=tuple(point for point, _, _ in points),
            cost="energy of a sample",
            cost_unit="J",
            front=tuple(
                pareto_front({p.label: (p.cost, p.score) for p, _, _ in points}, higher_is_better=points[0][2])
            ),
        )
        for (name, protocol, dataset, how), points in found.items()
        if len(points) > 1
    ]


def _median(run: RunData) -> float | None:
    """The median time of the model call [s], where enough samples carry one."""
    percentiles = run.latency.inference.percentiles if run.latency else ()
    return next((entry.value_s for entry in percentiles if entry.percentile == MEDIAN), None)
