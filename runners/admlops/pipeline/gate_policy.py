"""What a candidate may lose against a baseline: a TOML file, each key checked by name."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from admlops.core.errors import UsageError
from admlops.evaluation.streaming.options import CLOCKS

PERCENTILES = ("p50", "p90", "p95", "p99", "p99.9")
Proof = Literal["worse", "not-worse"]
Unknown = Literal["fail", "pass"]
HINT = "docs/gate.md has a whole policy"


@dataclass(frozen=True, kw_only=True)
class LatencyPolicy:
    """`worse_percent` is how much slower a percentile may be."""

    worse_percent: float
    percentile: str = "p99"
    clock: str = "inference"


@dataclass(frozen=True, kw_only=True)
class FailurePolicy:
    """Whether a failure class may appear that the baseline does not have, and how many more samples may fail."""

    new_classes: bool = False
    more_samples: int = 0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The limits; None where there is no limit.

    Attributes:
        metrics: by `METRIC` or `PROTOCOL:METRIC`, how much worse it may be, in the metric's own unit.
        proof: `worse`: a metric fails where its 95 % interval shows a loss beyond the limit; `not-worse`: it fails
            unless the interval shows that there is none.
        unknown: whether a limit that cannot be judged, such as a percentile of too few samples, fails or passes.
    """

    metrics: Mapping[str, float]
    proof: Proof = "worse"
    unknown: Unknown = "fail"
    latency: LatencyPolicy | None = None
    gpu_memory_percent: float | None = None
    host_memory_percent: float | None = None
    energy_percent: float | None = None
    failures: FailurePolicy = field(default_factory=FailurePolicy)


def read_policy(path: Path) -> Policy:
    """Return the policy in a file.

    Raises:
        UsageError: it cannot be read, is no TOML, or a key is unknown or has an invalid value.
    """
    try:
        content = tomllib.loads(path.read_text())
    except OSError as error:
        raise UsageError(f"--policy {path} cannot be read: {error.strerror}", hint=HINT) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--policy {path} is no TOML: {error}", hint=HINT) from error
    return _Reader(path).policy(content)


class _Reader:
    """Reads tables and names the key of whatever is wrong."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def policy(self, content: Mapping[str, Any]) -> Policy:
        self._check_keys(content, "", ("metrics", "proof", "unknown", "latency", "memory", "energy", "failures"))
        metrics = self._table(content, "metrics")
        memory = self._table(content, "memory")
        self._check_keys(memory, "memory", ("gpu_worse_percent", "host_worse_percent"))
        energy = self._table(content, "energy")
        self._check_keys(energy, "energy", ("worse_percent",))
        return Policy(
            metrics={name: self._number(value, f"metrics.{name}") for name, value in metrics.items()},
            proof=self._choice(content, "proof", ("worse", "not-worse")),
            unknown=self._choice(content, "unknown", ("fail", "pass")),
            latency=self._latency(self._table(content, "latency")) if "latency" in content else None,
            gpu_memory_percent=self._percent(memory, "memory", "gpu_worse_percent"),
            host_memory_percent=self._percent(memory, "memory", "host_worse_percent"),
            energy_percent=self._percent(energy, "energy", "worse_percent"),
            failures=self._failures(self._table(content, "failures")),
        )

    def _latency(self, table: Mapping[str, Any]) -> LatencyPolicy:
        self._check_keys(table, "latency", ("worse_percent", "percentile", "clock"))
        if "worse_percent" not in table:
            raise self._wrong("latency.worse_percent is missing")
        return LatencyPolicy(
            worse_percent=self._number(table["worse_percent"], "latency.worse_percent"),
            percentile=self._choice(table, "percentile", PERCENTILES, "latency.", "p99"),
            clock=self._choice(table, "clock", CLOCKS, "latency."),
        )

    def _failures(self, table: Mapping[str, Any]) -> FailurePolicy:
        self._check_keys(table, "failures", ("new_classes", "more_samples"))
        allowed = table.get("new_classes", False)
        if not isinstance(allowed, bool):
            raise self._wrong(f"failures.new_classes is {allowed!r}, and must be true or false")
        more = self._number(table.get("more_samples", 0), "failures.more_samples")
        return FailurePolicy(new_classes=allowed, more_samples=int(more))

    def _table(self, content: Mapping[str, Any], name: str) -> Mapping[str, Any]:
        table = content.get(name, {})
        if not isinstance(table, Mapping):
            raise self._wrong(f"{name} is {table!r}, and must be a table: [{name}]")
        return table

    def _percent(self, table: Mapping[str, Any], where: str, key: str) -> float | None:
        return self._number(table[key], f"{where}.{key}") if key in table else None

    def _number(self, value: Any, key: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e9:
            raise self._wrong(f"{key} is {value!r}, and must be a number from 0: how much worse it may be")
        return float(value)

    def _choice(
        self, table: Mapping[str, Any], key: str, values: tuple[str, ...], where: str = "", usual: str | None = None
    ) -> Any:
        value = table.get(key, usual or values[0])
        if value not in values:
            raise self._wrong(f"{where}{key} is {value!r}, and must be one of: {', '.join(values)}")
        return value

    def _check_keys(self, table: Mapping[str, Any], where: str, known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                near = difflib.get_close_matches(key, known, n=1)
                meant = f"; {near[0]} is one" if near else f"; there are {', '.join(known)}"
                raise self._wrong(f"{where + '.' if where else ''}{key} is no key of a policy{meant}")

    def _wrong(self, what: str) -> UsageError:
        return UsageError(f"--policy {self._path}: {what}", hint=HINT)
