"""What each way of running a model gives and costs, and which ways another one beats in everything.

A point is a model with an engine, a precision and weights, under one fault or none, on one set of samples. Its score is
that of its newest evaluated run. A point without a fault also has the streaming score of its run over a stream, and the
worst of its runs under faults; `place` ties a stream to the key frames of its split. Points are held against each other
only under one protocol on the same samples.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from admlops.evaluation.corrupted import fault_of, fault_suffix
from admlops.pipeline.gate import gpu_memory_mb, host_memory_mb
from admlops.pipeline.robustness import SCORES
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder

STREAM_SCORES = {
    "nuscenes.detection_cvpr_2019": ("asap.interp-12hz.copy", "NDS-S"),
    "maptr.chamfer-60x30-0.5_1.0_1.5": ("streaming.chamfer-60x30-12hz.copy", "mAP-S"),
}
MORE_IS_BETTER = ("score", "streaming", "worst_fault")
LESS_IS_BETTER = ("p99_ms", "p50_ms", "energy_j", "memory_mb")
DIMENSIONS = (*MORE_IS_BETTER, *LESS_IS_BETTER)


class Way(NamedTuple):
    """A way of running a model: what decides its scores and its costs."""

    model: str
    variant: str
    engine: str
    precision: str
    weights: str
    device: str


@dataclass(frozen=True, kw_only=True)
class Point:
    """A way under one fault, on one set of samples; a value that was not measured is None.

    `dominated_by` names a point that is at least as good in all that this one has, and better in some of it.
    """

    way: Way
    fault: str
    protocol: str
    metric: str
    dataset: str
    run: str
    place: str = ""
    values: Mapping[str, float | None] = field(default_factory=dict)
    dominated_by: str | None = None

    def to_json(self) -> dict[str, Any]:
        """The form of --json and of the export."""
        about = {"run": self.run, **self.way._asdict(), "fault": self.fault, "protocol": self.protocol}
        return {**about, "metric": self.metric, **dict(self.values), "dominated_by": self.dominated_by}


def find_points(runs: Sequence[RunFolder]) -> list[Point]:
    """Return the points of all evaluated runs, the newest run of each; ways of one protocol and data stand together."""
    found: dict[tuple[Way, str, str, str], Point] = {}
    streams: dict[tuple[Way, str, str], float] = {}
    worst: dict[tuple[Way, str, str], float] = {}
    for run in runs:
        summary = _read(run)
        if summary is None or run.header.random_weights or run.header.is_submission:
            continue
        way, fault = way_of(run.header), fault_of(run.header)
        if run.header.data.kind.endswith("-12hz"):
            for protocol, (own, metric) in STREAM_SCORES.items():
                value = _value(summary, own, metric)
                if value is not None and fault is None:
                    streams[way, protocol, _place(run.header)] = value
            continue
        for point in _points_of(run, summary, way):
            found[way, point.fault, point.protocol, point.dataset] = point
            if fault is not None:
                key = (way, point.protocol.removesuffix(fault_suffix(run.header)), point.dataset)
                worst[key] = min(worst.get(key, 1.0), point.values["score"] or 0.0)
    points = [
        replace(
            point,
            values={
                **point.values,
                "streaming": streams.get((point.way, point.protocol, point.place)),
                "worst_fault": worst.get((point.way, point.protocol, point.dataset)),
            },
        )
        for point in found.values()
    ]
    return sorted(mark_dominated(points), key=lambda one: (one.protocol, one.dataset, one.way, one.fault))


def mark_dominated(points: Sequence[Point]) -> list[Point]:
    """Return the points with `dominated_by` filled in."""
    groups: dict[tuple[str, str], list[Point]] = {}
    for point in points:
        groups.setdefault((point.protocol, point.dataset), []).append(point)
    return [
        replace(point, dominated_by=next((one.run for one in group if dominates(one.values, point.values)), None))
        for group in groups.values()
        for point in group
    ]


def dominates(one: Mapping[str, float | None], other: Mapping[str, float | None]) -> bool:
    """Tell whether `one` has all that `other` has, none of it worse, and some of it better."""
    better = False
    for name in DIMENSIONS:
        theirs, ours = other.get(name), one.get(name)
        if theirs is None:
            continue
        if ours is None:
            return False
        gain = ours - theirs if name in MORE_IS_BETTER else theirs - ours
        if gain < 0:
            return False
        better |= gain > 0
    return better


def way_of(header: RunHeader) -> Way:
    """The way in which a run ran its model."""
    weights = header.provenance.checkpoint or (header.provenance.checkpoint_sha256 or "")[:12]
    return Way(
        model=header.model,
        variant=header.variant,
        engine=header.execution,
        precision=str(header.settings.get("precision", "")),
        weights=weights,
        device=header.gpu or header.device_kind,
    )


def to_csv(points: Sequence[Point]) -> str:
    """The points as comma-separated values; what was not measured is empty."""
    text = io.StringIO()
    rows = [point.to_json() for point in points]
    names = [*Point(way=Way(*[""] * 6), fault="", protocol="", metric="", dataset="", run="").to_json()]
    columns = [*names[:-1], *DIMENSIONS, names[-1]]
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: row.get(name) for name in columns} for row in rows)
    return text.getvalue()


def _points_of(run: RunFolder, summary: Mapping[str, Any], way: Way) -> Iterator[Point]:
    suffix, fault = fault_suffix(run.header), fault_of(run.header)
    memory = gpu_memory_mb(run) or host_memory_mb(run)
    for protocol, metric in SCORES.items():
        score = _value(summary, protocol + suffix, metric)
        if score is not None:
            yield Point(
                way=way,
                fault="none" if fault is None else fault.label,
                protocol=protocol + suffix,
                metric=metric,
                dataset=str(summary["data"]["samples_sha256"]),
                run=run.header.run,
                place=_place(run.header),
                values={
                    "score": score,
                    "p99_ms": _percentile(summary, "p99"),
                    "p50_ms": _percentile(summary, "p50"),
                    "energy_j": (summary.get("energy") or {}).get("j_per_sample"),
                    "memory_mb": memory,
                },
            )


def _place(header: RunHeader) -> str:
    """Where a run's samples are: a stream and its key frames have this in common."""
    return f"{header.data.root} {header.data.version} {header.data.split}"


def _percentile(summary: Mapping[str, Any], name: str) -> float | None:
    found = (summary.get("latency") or {}).get("inference", {}).get("percentiles", {}).get(name)
    return None if found is None else 1e3 * float(found["value_s"])


def _value(summary: Mapping[str, Any], protocol: str, metric: str) -> float | None:
    for one in summary["metrics"]:
        if (one["protocol"], one["name"]) == (protocol, metric) and one["value"] is not None:
            return float(one["value"])
    return None


def _read(run: RunFolder) -> dict[str, Any] | None:
    """The run's metrics.json; None where it is not evaluated, or its file cannot be read."""
    try:
        summary: dict[str, Any] = json.loads(run.metrics_path.read_bytes())
    except (OSError, ValueError):
        return None
    return summary if "metrics" in summary and "data" in summary else None
