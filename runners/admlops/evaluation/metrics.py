"""A measured number together with everything that decides what it may be compared with.

Two values are comparable when metric, protocol, data and, for speeds, device are the same. Everything that subtracts
or ranks goes through here and refuses the rest.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from admlops.catalog.protocols import find_metric
from admlops.core.counting import count_of
from admlops.core.errors import ComparabilityError

LARGEST = 1e6
"""No measured number of a record may be larger [m or m/s]: sums of squares stay finite."""


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One value: `dataset` is the digest of the sample tokens it was measured on, `n` how many there were.

    `value` is None where the protocol leaves it undefined. `interval` is a confidence interval, None where none was
    computed. `device` and `precision` are set for speeds only: they mean nothing without the machine and its
    arithmetic. `weights` is `random:SEED` where the model's weights were drawn and not trained: such a value compares
    with no other.
    """

    name: str
    protocol: str
    value: float | None
    n: int
    dataset: str
    interval: tuple[float, float] | None = None
    device: str | None = None
    weights: str | None = None
    precision: str | None = None

    @property
    def higher_is_better(self) -> bool:
        """Which way is better, as the evaluation says; for a metric that none defines, higher is better."""
        known = find_metric(self.protocol, self.name)
        return known is None or known.higher_is_better

    @property
    def key(self) -> tuple[str, str, str, str | None, str | None]:
        """Equal for comparable metrics, different for all others."""
        return (self.name, self.protocol, self.dataset, self.device, self.precision)

    def to_json(self) -> dict[str, Any]:
        """The form in `metrics.json`; the digest of the data stands there once, in `data.samples_sha256`."""
        shape: dict[str, Any] = {"name": self.name, "protocol": self.protocol, "value": self.value, "n": self.n}
        shape["interval"] = None if self.interval is None else list(self.interval)
        if self.device is not None:
            shape["device"] = self.device
        if self.precision is not None:
            shape["precision"] = self.precision
        return shape

    @classmethod
    def from_json(cls, value: Mapping[str, Any], *, dataset: str, weights: str | None = None) -> Metric:
        """The metric that `to_json` wrote; `dataset` is `data.samples_sha256` of the same file, `weights` its
        `random_weights`."""
        interval = value.get("interval")
        return cls(
            name=value["name"],
            protocol=value["protocol"],
            value=value["value"],
            n=value["n"],
            dataset=dataset,
            interval=None if interval is None else (interval[0], interval[1]),
            device=value.get("device"),
            precision=value.get("precision"),
            weights=weights,
        )


def metrics_of(summary: Mapping[str, Any]) -> list[Metric]:
    """The metrics in a `metrics.json` that has been read."""
    dataset = summary["data"]["samples_sha256"]
    weights = summary.get("random_weights")
    return [Metric.from_json(entry, dataset=dataset, weights=weights) for entry in summary["metrics"]]


def comparable(a: Metric, b: Metric) -> bool:
    """Tell whether `a` and `b` may be ranked or subtracted."""
    return a.key == b.key and a.weights is None and b.weights is None


def require_comparable(a: Metric, b: Metric) -> None:
    """Raise ComparabilityError, naming both sides, unless `a` and `b` are comparable."""
    if comparable(a, b):
        return
    if weights := a.weights or b.weights:
        raise ComparabilityError(
            f"{a.name} ({a.protocol}) cannot be compared: it was measured with random weights ({weights}), "
            "which say nothing of how good a model is",
            hint="admlops checkpoints fetch MODEL   # then run it with trained weights",
        )
    for what, left, right, hint in (
        ("metrics", a.name, b.name, "compare a metric with itself: see docs/metrics.md for their names"),
        ("protocols", a.protocol, b.protocol, "docs/metrics.md says what each protocol measures"),
        ("data", _samples(a), _samples(b), "admlops compare --models A,B --data ROOT   # one set of samples for all"),
        ("devices", a.device, b.device, "measure both on one machine: admlops compare --models A,B"),
        (
            "precisions",
            a.precision,
            b.precision,
            "measure both alike: admlops compare --models A,B --precision float32",
        ),
    ):
        if left != right:
            raise ComparabilityError(
                f"{a.name} ({a.protocol}) and {b.name} ({b.protocol}) cannot be compared: "
                f"their {what} differ, {left} and {right}",
                hint=hint,
            )


def subtract(a: Metric, b: Metric) -> float | None:
    """a − b, or None where either is undefined.

    Raises:
        ComparabilityError: they follow different protocols or were measured on different data.
    """
    require_comparable(a, b)
    return None if a.value is None or b.value is None else a.value - b.value


def _samples(metric: Metric) -> str:
    return f"{count_of(metric.n, 'sample')} with digest {metric.dataset[:12]}"
