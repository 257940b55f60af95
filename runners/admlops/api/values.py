"""What the API gives of a run's numbers: metrics to look up, and differences between runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from admlops.core.errors import UsageError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.paired_bootstrap import Difference
from admlops.results.frames import Library, make_frame
from admlops.results.index import METRIC_COLUMNS


class Metrics(Sequence[Metric]):
    """The metrics of one run, in the order of its evaluation.

    `metrics["NDS"]` is the one of that name, `metrics["nuscenes.detection_cvpr_2019/NDS"]` that of a protocol.
    """

    def __init__(self, metrics: Iterable[Metric], run: str) -> None:
        self._metrics = tuple(metrics)
        self._run = run

    @overload
    def __getitem__(self, key: int | str) -> Metric: ...
    @overload
    def __getitem__(self, key: slice) -> Sequence[Metric]: ...
    def __getitem__(self, key: int | str | slice) -> Metric | Sequence[Metric]:
        """Return the metric at an index, or the one of a name.

        Raises:
            UsageError: the run has no such metric, or several protocols have one; the message lists them.
        """
        return self._find(key) if isinstance(key, str) else self._metrics[key]

    def __len__(self) -> int:
        return len(self._metrics)

    def __repr__(self) -> str:
        values = (
            f"{one.protocol}/{one.name} {'undefined' if one.value is None else f'{one.value:.4f}'}" for one in self
        )
        return f"<Metrics of {self._run}: {', '.join(values)}>"

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols, in order of appearance."""
        return tuple(dict.fromkeys(one.protocol for one in self._metrics))

    def to_frame(self, *, library: Library = "pandas") -> Any:
        """One row per metric: run, name, protocol, value, n, interval_low, interval_high, samples_sha256, device."""
        rows = (
            (
                self._run,
                one.name,
                one.protocol,
                one.value,
                one.n,
                *(one.interval or (None, None)),
                one.dataset,
                one.device,
            )
            for one in self._metrics
        )
        return make_frame(METRIC_COLUMNS, rows, library=library)

    def _find(self, key: str) -> Metric:
        found = [one for one in self._metrics if key in (one.name, f"{one.protocol}/{one.name}")]
        if len(found) == 1:
            return found[0]
        names = [f"{one.protocol}/{one.name}" for one in found or self._metrics]
        what = f"has {len(found)} metrics called" if found else "has no metric"
        raise UsageError(
            f"run {self._run} {what} {key!r}: {', '.join(names)}",
            hint=f"metrics[{names[0]!r}]" if names else "evaluate",
        )


@dataclass(frozen=True, kw_only=True)
class Pair:
    """Two runs over the same samples, metric by metric: each difference is `second` minus `first`."""

    first: str
    second: str
    differences: tuple[Difference, ...]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """Runs over the same samples, by name, and every pair of them."""

    runs: tuple[str, ...]
    pairs: tuple[Pair, ...]

    def to_frame(self, *, library: Library = "pandas") -> Any:
        """One row per pair and metric: values, difference, 95 % interval and p-value."""
        texts = dict.fromkeys(("first", "second", "metric", "protocol"), "VARCHAR")
        numbers = dict.fromkeys(("a", "b", "difference", "interval_low", "interval_high", "p_value"), "DOUBLE")
        rows = (
            (pair.first, pair.second, one.metric, one.protocol, one.n, one.a, one.b, one.difference,
             *(one.interval or (None, None)), one.p_value)
            for pair in self.pairs
            for one in pair.differences
        )  # fmt: skip
        return make_frame({**texts, "n": "INTEGER", **numbers}, rows, library=library)
