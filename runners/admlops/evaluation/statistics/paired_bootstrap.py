"""Two runs over the same samples: by how much they differ, and whether other scenes would say the same.

Both runs are resampled with the same scenes, so what makes a scene hard for both cancels out: the difference is known
far better than either value. The p-value is that of the paired bootstrap (`bootstrap.p_value`). Comparing many pairs
finds some small p-values by chance alone: divide the level by the number of pairs (Bonferroni) before believing one.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from admlops.core.errors import ComparabilityError, RecordError
from admlops.evaluation.metrics import Metric, metrics_of, require_comparable
from admlops.evaluation.statistics.bootstrap import Values, interval, p_value
from admlops.results.run_folder import RunFolder

Resamples = Mapping[tuple[str, str], Values]


@dataclass(frozen=True, kw_only=True)
class EvaluatedRun:
    """A run's values, and by (protocol, metric) what they are in each resample of the scenes."""

    name: str
    model: str
    metrics: tuple[Metric, ...]
    resamples: Resamples
    reason: str | None
    """Why there are no resamples."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One metric of two runs: `difference` is b - a; interval and p-value are None where `reason` says why."""

    metric: str
    protocol: str
    n: int
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    reason: str | None

    def to_json(self) -> dict[str, Any]:
        return {
            "metric": self.metric,
            "protocol": self.protocol,
            "n": self.n,
            "a": self.a,
            "b": self.b,
            "difference": self.difference,
            "interval": None if self.interval is None else list(self.interval),
            "p_value": self.p_value,
            "reason": self.reason,
        }


def read_evaluated(run: RunFolder) -> EvaluatedRun:
    """Return what `admlops evaluate` wrote.

    Raises:
        RecordError: the run is not evaluated, or by an admlops that did not write what is needed.
    """
    hint = f"admlops evaluate {run.path.name}"
    try:
        summary = json.loads(run.metrics_path.read_bytes())
        metrics = tuple(metrics_of(summary))
        content = json.loads(run.resamples_path.read_bytes()) if run.resamples_path.is_file() else None
        resamples = _read_resamples(content, summary["data"]["samples_sha256"])
        model, reason = str(summary["model"]), _reason(summary, run.path.name)
    except FileNotFoundError as error:
        raise RecordError(f"run {run.path.name} is not evaluated", hint=hint) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"the evaluation of run {run.path.name} cannot be read: {error}", hint=hint) from error
    return EvaluatedRun(name=run.path.name, model=model, metrics=metrics, resamples=resamples, reason=reason)


def compare_evaluated(a: EvaluatedRun, b: EvaluatedRun) -> list[Difference]:
    """Every metric that both runs have.

    Raises:
        ComparabilityError: they have no metric in common, or their samples differ.
    """
    theirs = {(metric.protocol, metric.name): metric for metric in b.metrics}
    shared = [(own, theirs[own.protocol, own.name]) for own in a.metrics if (own.protocol, own.name) in theirs]
    if not shared:
        raise ComparabilityError(
            f"runs {a.name} and {b.name} have no metric in common: the one has {_protocols(a)}, "
            f"the other {_protocols(b)}",
            hint="docs/metrics.md says what each protocol measures",
        )
    for own, other in shared:
        require_comparable(own, other)
    return [compare_metric(own, other, a, b) for own, other in shared]


def compare_metric(own: Metric, other: Metric, a: EvaluatedRun, b: EvaluatedRun) -> Difference:
    """Return one comparable metric of two runs, b - a."""
    key = (own.protocol, own.name)
    difference = None if own.value is None or other.value is None else other.value - own.value
    resamples = a.resamples.get(key), b.resamples.get(key)
    between, p, reason = _resampled_difference(own, *resamples)
    if resamples[0] is None or resamples[1] is None:
        reason = a.reason or b.reason or reason
    return Difference(
        metric=own.name,
        protocol=own.protocol,
        n=own.n,
        a=own.value,
        b=other.value,
        difference=difference,
        interval=between,
        p_value=p,
        reason=reason,
    )


def _resampled_difference(
    metric: Metric, a: Values | None, b: Values | None
) -> tuple[tuple[float, float] | None, float | None, str | None]:
    """Interval and p-value of b - a, or why there are none."""
    if a is None or b is None:
        return None, None, f"{metric.protocol} is not resampled"
    if len(a) != len(b):
        return None, None, f"{len(a)} and {len(b)} resamples: evaluate both runs with one admlops"
    differences = b - a
    if np.isnan(differences).any():
        return None, None, f"{metric.name} is undefined in some resamples"
    return interval(differences), p_value(differences), None


def _read_resamples(content: Mapping[str, Any] | None, dataset: str) -> Resamples:
    if content is None:
        return {}
    if content["samples_sha256"] != dataset:
        raise ValueError("resamples.json and metrics.json are of different samples")
    return {
        (protocol, name): np.array(values, dtype=np.float64)
        for protocol, metrics in content["resamples"].items()
        for name, values in metrics.items()
    }


def _reason(summary: Mapping[str, Any], name: str) -> str | None:
    if "intervals" not in summary:
        return f"run {name} was evaluated without intervals: admlops evaluate {name}"
    reason = summary["intervals"]["reason"]
    return None if reason is None else str(reason)


def _protocols(run: EvaluatedRun) -> str:
    return ", ".join(dict.fromkeys(metric.protocol for metric in run.metrics)) or "none"
