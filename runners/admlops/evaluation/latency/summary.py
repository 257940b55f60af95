"""Latency that says no more than its samples carry.

The first frame of a scene starts cold (caches, memory, a temporal model's empty history) and is kept apart. A
percentile is stated only from the sample count that MLPerf's early-stopping rule asks for: the smallest n for which n
samples with at most one above the percentile would be a rarer event than 1 in 100 if the true share above it were
1 - p, that is P(Binomial(n, 1 - p) ≤ 1) ≤ 0.01. It gives 11 for p50, 64 for p90, 662 for p99 and 6,636 for p99.9.
Source: MLPerf Inference policies, "Early stopping criterion"; mlperf_automotive, loadgen/mlperf.conf.
"""

from __future__ import annotations

import bisect
import functools
import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from admlops.core.counting import count_of
from admlops.results.record import BatchShare, Metadata, Precision

PERCENTILES = (0.5, 0.9, 0.95, 0.99, 0.999)
ALLOWED_OVER = 1
CONFIDENCE = 0.99
NEGLIGIBLE = 1e-17
VERDICT_PERCENTILE = 0.9
"""A run is VALID when it carries at least this percentile."""


@dataclass(frozen=True, kw_only=True)
class Percentile:
    """A percentile [s] by nearest rank, and its upper bound [s] at 99 % confidence."""

    percentile: float
    value_s: float
    upper_bound_s: float


@dataclass(frozen=True, kw_only=True)
class Distribution:
    """Times of one kind [s]. `std_s` is the sample's (n - 1), None for a single value; all None for no value."""

    n: int
    mean_s: float | None
    std_s: float | None
    min_s: float | None
    max_s: float | None
    percentiles: tuple[Percentile, ...]

    def to_json(self) -> dict[str, Any]:
        shape = {"n": self.n, "mean_s": self.mean_s, "std_s": self.std_s, "min_s": self.min_s, "max_s": self.max_s}
        percentiles = {
            f"p{100 * entry.percentile:g}": {"value_s": entry.value_s, "upper_bound_s": entry.upper_bound_s}
            for entry in self.percentiles
        }
        return {**shape, "percentiles": percentiles}


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """How much one worker does in a second, reading, decoding and converting included.

    `batch` is how many samples it took at once: 1, or the size that most samples went through with, whose times alone
    count. `pictures_per_s` is None where the data set's number of cameras is not known.
    """

    samples_per_s: float
    pictures_per_s: float | None
    batch: int

    def to_json(self) -> dict[str, Any]:
        return {"samples_per_s": self.samples_per_s, "pictures_per_s": self.pictures_per_s, "batch": self.batch}


@dataclass(frozen=True, kw_only=True)
class SharedTimes:
    """Times of samples whose worker shared its device; `why` says with whom. They are ranked with no others.

    `throughput` is what one worker did beside the others.
    """

    why: str
    inference: Distribution
    end_to_end: Distribution
    throughput: Throughput | None

    def to_json(self) -> dict[str, Any]:
        return {
            "why": self.why,
            "inference": self.inference.to_json(),
            "end_to_end": self.end_to_end.to_json(),
            "throughput": None if self.throughput is None else self.throughput.to_json(),
        }


@dataclass(frozen=True, kw_only=True)
class Latency:
    """`inference` is the model call alone, `end_to_end` includes reading and decoding the input; both without the
    first frames of scenes, which stand in the other two. Rates are frames a second of one worker.

    `precision` is the arithmetic that was in force, such as `half, TF32 convolutions`, and None where records do not
    say; times of different precisions are not ranked against each other. `graphs` says of a run with CUDA graphs which
    parts of the network were replayed; samples that graphs were recorded of stand with the first frames. A run that
    took several samples at once has a throughput and no latency. One whose workers shared their device has neither: its
    times are `shared`.
    """

    inference: Distribution
    end_to_end: Distribution
    first_inference: Distribution
    first_end_to_end: Distribution
    inference_fps: float | None
    end_to_end_fps: float | None
    verdict: Literal["VALID", "INVALID"]
    reasons: tuple[str, ...]
    suggested_samples: int
    precision: str | None = None
    throughput: Throughput | None = None
    shared: SharedTimes | None = None
    graphs: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "inference": self.inference.to_json(),
            "end_to_end": self.end_to_end.to_json(),
            "first_frames": {
                "inference": self.first_inference.to_json(),
                "end_to_end": self.first_end_to_end.to_json(),
            },
            "inference_fps": self.inference_fps,
            "end_to_end_fps": self.end_to_end_fps,
            "verdict": self.verdict,
            "reasons": list(self.reasons),
            "suggested_samples": self.suggested_samples,
            "precision": self.precision,
            "throughput": None if self.throughput is None else self.throughput.to_json(),
            **({} if self.shared is None else {"shared": self.shared.to_json()}),
            **({} if self.graphs is None else {"graphs": self.graphs}),
        }


def summarize(
    samples: Iterable[Metadata], *, pictures: int | None = None, shared: str | None = None, precision: str | None = None
) -> Latency:
    """Summarize the times of a run's samples. Failed ones have no time; they make the verdict INVALID.

    Args:
        samples: the metadata of every record.
        pictures: how many a sample has, one per camera.
        shared: with whom the run's workers shared their device, as `RunHeader.shared` says it.
        precision: what an engine computes in, as `find_engine_precision` says it; the records' word if None.
    """
    found = _summarize(list(samples), pictures, shared)
    return found if precision is None else replace(found, precision=precision)


def _summarize(everything: Sequence[Metadata], pictures: int | None, shared: str | None) -> Latency:
    if shared is not None:
        return _summarize_shared(everything, shared, pictures)
    timed = [entry for entry in everything if entry.status == "ok"]
    steady = [entry for entry in timed if _is_steady(entry)]
    first = [entry for entry in timed if not _is_steady(entry)]
    inference = distribution([e.inference_time for e in steady if e.inference_time is not None])
    end_to_end = distribution([e.end_to_end_time for e in steady if e.end_to_end_time is not None])
    needed = samples_needed(VERDICT_PERCENTILE)
    precisions = sorted({entry.precision.label for entry in timed if isinstance(entry.precision, Precision)})
    batches = [entry.batch for entry in timed if isinstance(entry.batch, BatchShare)]
    reasons = _reasons(failed=len(everything) - len(timed), measured=inference.n, steady=len(steady), needed=needed)
    if batches:
        largest = max(batch.size for batch in batches)
        reasons = (
            f"up to {largest} samples were done at once, and none has a time of its own: run it without --batch",
        )
    if len(precisions) > 1:
        reasons = (*reasons, f"samples ran in different precisions: {'; '.join(precisions)}")
    graphs = sorted({label_graphs(entry.graphs) for entry in steady if isinstance(entry.graphs, dict)})
    if len(graphs) > 1:
        reasons = (*reasons, f"samples ran with different CUDA graphs: {'; '.join(graphs)}")
    return Latency(
        inference=inference,
        end_to_end=end_to_end,
        first_inference=distribution([e.inference_time for e in first if e.inference_time is not None]),
        first_end_to_end=distribution([e.end_to_end_time for e in first if e.end_to_end_time is not None]),
        inference_fps=_rate(inference),
        end_to_end_fps=_rate(end_to_end),
        verdict="INVALID" if reasons else "VALID",
        reasons=reasons,
        suggested_samples=len(everything) if batches else needed + len(everything) - len(steady),
        precision="; ".join(precisions) or None,
        throughput=_throughput(steady, pictures),
        graphs="; ".join(graphs) or None,
    )


def label_graphs(parts: Mapping[str, str]) -> str:
    """Say how the parts of a network ran, such as `img_backbone replayed, img_neck eager`."""
    return ", ".join(f"{part} {state}" for part, state in sorted(parts.items())) or "no part"


def _is_steady(entry: Metadata) -> bool:
    """Tell whether a sample's times predict the next one's: not a first frame's, nor where a graph was recorded."""
    recorded = isinstance(entry.graphs, dict) and "recorded" in entry.graphs.values()
    return entry.index_in_scene > 0 and not recorded


def _summarize_shared(everything: Sequence[Metadata], why: str, pictures: int | None) -> Latency:
    """Report shared times apart, so that nobody takes them for a latency."""
    steady = [entry for entry in everything if entry.status == "ok" and _is_steady(entry)]
    precisions = sorted({entry.precision.label for entry in everything if isinstance(entry.precision, Precision)})
    nothing = distribution([])
    times = SharedTimes(
        why=why,
        inference=distribution([e.inference_time for e in steady if e.inference_time is not None]),
        end_to_end=distribution([e.end_to_end_time for e in steady if e.end_to_end_time is not None]),
        throughput=_throughput(steady, pictures),
    )
    return Latency(
        inference=nothing,
        end_to_end=nothing,
        first_inference=nothing,
        first_end_to_end=nothing,
        inference_fps=None,
        end_to_end_fps=None,
        verdict="INVALID",
        reasons=(f"measured {why}, so its times are shared ones and no latency: run it alone with one worker",),
        suggested_samples=len(everything),
        precision="; ".join(precisions) or None,
        shared=times,
    )


def _throughput(steady: Sequence[Metadata], pictures: int | None) -> Throughput | None:
    """The rate of the samples after the first of each scene; None where there is none with a time."""
    shares = [entry.batch for entry in steady if isinstance(entry.batch, BatchShare)]
    usual = statistics.mode([share.size for share in shares]) if shares else 1
    times_s = [share.end_to_end_share for share in shares if share.size == usual]
    if not shares:
        times_s = [entry.end_to_end_time for entry in steady if entry.end_to_end_time is not None]
    whole_s = math.fsum(times_s)
    if not whole_s:
        return None
    rate = len(times_s) / whole_s
    return Throughput(samples_per_s=rate, pictures_per_s=None if pictures is None else rate * pictures, batch=usual)


def distribution(times_s: Sequence[float]) -> Distribution:
    """Mean, spread, extremes and the percentiles that `len(times_s)` carries."""
    n = len(times_s)
    if n == 0:
        return Distribution(n=0, mean_s=None, std_s=None, min_s=None, max_s=None, percentiles=())
    ordered = sorted(times_s)
    mean = math.fsum(ordered) / n
    variance = math.fsum((value - mean) ** 2 for value in ordered) / (n - 1) if n > 1 else None
    return Distribution(
        n=n,
        mean_s=mean,
        std_s=None if variance is None else math.sqrt(variance),
        min_s=ordered[0],
        max_s=ordered[-1],
        percentiles=tuple(_percentile(ordered, p) for p in PERCENTILES if n >= samples_needed(p)),
    )


@functools.cache
def samples_needed(percentile: float) -> int:
    """The smallest n with P(Binomial(n, 1 - percentile) ≤ ALLOWED_OVER) ≤ 1 - CONFIDENCE."""
    n = ALLOWED_OVER + 1
    while not _carries(2 * n, percentile, ALLOWED_OVER):
        n *= 2
    return n + 1 + bisect.bisect_left(range(n + 1, 2 * n), True, key=lambda m: _carries(m, percentile, ALLOWED_OVER))


def _percentile(ordered: Sequence[float], percentile: float) -> Percentile:
    """Nearest rank: the smallest value that at least the share `percentile` of the samples does not exceed.

    The bound is the order statistic with `over` values above it, `over` as large as the early-stopping rule allows.
    """
    n = len(ordered)
    rank = max(1, math.ceil(percentile * n - 1e-9))
    too_many = bisect.bisect_left(range(n), True, key=lambda over: not _carries(n, percentile, over))
    return Percentile(percentile=percentile, value_s=ordered[rank - 1], upper_bound_s=ordered[n - too_many])


def _carries(n: int, percentile: float, over: int) -> bool:
    """Tell whether seeing at most `over` of n samples above the true percentile is rarer than 1 - CONFIDENCE."""
    return binomial_cdf(over, n, 1 - percentile) <= 1 - CONFIDENCE


def binomial_cdf(most: int, n: int, share: float) -> float:
    """P(Binomial(n, share) ≤ most), to about nine digits, for 0 < share < 1.

    SciPy has the same as `special.bdtr`; to import that takes a third of the start of `admlops evaluate`.
    """
    if most >= n:
        return 1.0
    if most >= n * share:
        return 1.0 - binomial_cdf(n - most - 1, n, 1 - share)
    log_choose = math.lgamma(n + 1) - math.lgamma(most + 1) - math.lgamma(n - most + 1)
    term = math.exp(log_choose + most * math.log(share) + (n - most) * math.log1p(-share))
    total, odds = term, (1 - share) / share
    for k in range(most, 0, -1):  # below the mean each term is smaller than the one before it
        term *= k / (n - k + 1) * odds
        total += term
        if term < NEGLIGIBLE * total:
            break
    return total


def _reasons(*, failed: int, measured: int, steady: int, needed: int) -> tuple[str, ...]:
    reasons = []
    if failed:
        reasons.append(f"{count_of(failed, 'sample')} failed and have no time: what is left may be the easy ones")
    if measured < steady:
        reasons.append(f"{count_of(steady - measured, 'sample')} without a time")
    if measured < needed:
        p = f"p{100 * VERDICT_PERCENTILE:g}"
        samples = count_of(measured, "sample")
        reasons.append(f"{samples} after the first of each scene; {p} needs {needed}")
    return tuple(reasons)


def _rate(times: Distribution) -> float | None:
    return 1.0 / times.mean_s if times.mean_s else None
