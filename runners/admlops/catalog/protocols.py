"""The evaluation protocols a published number can follow, and the metrics that each one defines.

A protocol id says everything that makes two numbers comparable: classes, ranges, thresholds, averaging and the version
of the evaluator. Rates and scores are fractions (mAP 0.5, not 50), distances are metres. The protocols are those of the
registered evaluations.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from admlops.catalog.registries import EVALUATIONS, EvaluationEntry, MetricEntry

LATENCY = "latency.batch1"
"""Frames per second of the model call alone, one frame of all cameras at a time; means nothing without its GPU."""


class _Protocols(Mapping[str, tuple[str, ...]]):
    """Protocol id → the names of its metrics, in the order of the registry."""

    def __getitem__(self, protocol: str) -> tuple[str, ...]:
        return tuple(metric.name for metric in self._entries()[protocol].metrics)

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries())

    def __len__(self) -> int:
        return len(self._entries())

    @staticmethod
    def _entries() -> dict[str, EvaluationEntry]:
        return {entry.protocol: entry for entry in EVALUATIONS.values()}


PROTOCOLS: Mapping[str, tuple[str, ...]] = _Protocols()


def find_evaluation(protocol: str) -> EvaluationEntry | None:
    """Return the evaluation of a protocol; a suffix such as `.off-distribution` or `@<file>` does not count."""
    entries = [entry for entry in EVALUATIONS.values() if _begins(protocol, entry.protocol)]
    return max(entries, key=lambda entry: len(entry.protocol), default=None)


def find_metric(protocol: str, name: str) -> MetricEntry | None:
    """Return what is known of a metric: in its protocol, or else in the first evaluation that has such a name."""
    own = find_evaluation(protocol)
    for entry in (own,) if own is not None else tuple(EVALUATIONS.values()):
        for metric in entry.metrics:
            if metric.covers(name):
                return metric
    return None


def headlines_of(protocol: str) -> Mapping[str, str]:
    """Return the metrics of a protocol that stand for it side by side, with their headings.

    An evaluation that declares none has its first column, or its first metric, under its own name.
    """
    entry = find_evaluation(protocol)
    if entry is None or entry.protocol == LATENCY:
        return {}
    first = [column.metric for column in entry.columns] or [metric.name for metric in entry.metrics]
    return entry.headlines or {name: name for name in first[:1]}


def _begins(protocol: str, registered: str) -> bool:
    return protocol == registered or protocol.startswith((f"{registered}.", f"{registered}@"))
