"""Whether a candidate may take a baseline's place: metrics by the paired bootstrap, speed, memory, energy, failures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from msgspec import UNSET

from admlops.core.errors import RecordError, UsageError
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.paired_bootstrap import Difference, compare_evaluated, read_evaluated
from admlops.pipeline.gate_policy import HINT, LatencyPolicy, Policy
from admlops.pipeline.run_data import read_telemetry
from admlops.results.record import Metadata
from admlops.results.run_folder import RunFolder

Outcome = Literal["passed", "failed", "not judged"]


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """One limit of the policy: what was asked, what was found, and why it failed or could not be judged."""

    what: str
    outcome: Outcome
    baseline: float | None
    candidate: float | None
    limit: str
    reason: str = ""
    interval: tuple[float, float] | None = None
    unit: str = ""

    def to_json(self) -> dict[str, Any]:
        """The form of --json."""
        return {
            "what": self.what,
            "outcome": self.outcome,
            "baseline": self.baseline,
            "candidate": self.candidate,
            "limit": self.limit,
            "interval": None if self.interval is None else list(self.interval),
            "unit": self.unit,
            "reason": self.reason,
        }


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """All judgements. `passed` says whether the candidate may take the baseline's place."""

    baseline: str
    candidate: str
    judgements: Sequence[Judgement]
    passed: bool

    def to_json(self) -> dict[str, Any]:
        """The form of --json."""
        return {
            "baseline": self.baseline,
            "candidate": self.candidate,
            "passed": self.passed,
            "judgements": [one.to_json() for one in self.judgements],
        }


def judge(baseline: RunFolder, candidate: RunFolder, policy: Policy) -> Verdict:
    """Judge a candidate against a baseline by a policy.

    Raises:
        RecordError: one of them is not evaluated.
        ComparabilityError: they have no metric in common, or are over different samples.
        UsageError: the policy names a metric that they do not both have.
    """
    found = [
        *_judge_metrics(baseline, candidate, policy),
        *_judge_costs(baseline, candidate, policy),
        *_judge_failures(baseline, candidate, policy),
    ]
    bad = {"failed"} | ({"not judged"} if policy.unknown == "fail" else set())
    return Verdict(
        baseline=baseline.path.name,
        candidate=candidate.path.name,
        judgements=found,
        passed=not any(one.outcome in bad for one in found),
    )


def _judge_metrics(baseline: RunFolder, candidate: RunFolder, policy: Policy) -> Iterator[Judgement]:
    a, b = read_evaluated(baseline), read_evaluated(candidate)
    differences = compare_evaluated(a, b)
    better = {(one.protocol, one.name): one for one in a.metrics}
    for key, limit in policy.metrics.items():
        chosen = [one for one in differences if key in (one.metric, f"{one.protocol}:{one.metric}")]
        if not chosen:
            known = ", ".join(dict.fromkeys(f"{one.protocol}:{one.metric}" for one in differences))
            raise UsageError(f"metrics.{key} is no metric that both runs have; they have {known}", hint=HINT)
        for one in chosen:
            yield _judge_metric(one, better[one.protocol, one.metric], limit, policy)


def _judge_metric(one: Difference, metric: Metric, limit: float, policy: Policy) -> Judgement:
    """Judge one metric: the loss is how much worse the candidate is, whichever direction is better."""
    sign = -1.0 if metric.higher_is_better else 1.0
    outcome: Outcome = "passed"
    reason = ""
    if one.difference is None:
        outcome, reason = "not judged", one.reason or "it is undefined in one of the runs"
    elif one.interval is not None:
        low, high = sorted(sign * end for end in one.interval)
        decisive = low if policy.proof == "worse" else high
        if decisive > limit:
            shows = "is" if policy.proof == "worse" else "may be"
            outcome, reason = "failed", f"at 95 % it {shows} worse by more than {limit:g}"
    elif sign * one.difference > limit:
        outcome = "failed"
        reason = f"it is worse by {sign * one.difference:.4f}; no interval ({one.reason or 'not resampled'})"
    else:
        reason = f"the values alone, without an interval ({one.reason or 'not resampled'})"
    return Judgement(
        what=f"{one.metric} ({one.protocol})",
        outcome=outcome,
        baseline=one.a,
        candidate=one.b,
        limit=f"worse by at most {limit:g}",
        reason=reason,
        interval=one.interval,
    )


def _judge_costs(baseline: RunFolder, candidate: RunFolder, policy: Policy) -> Iterator[Judgement]:
    runs = (baseline, candidate)
    if policy.latency is not None:
        limit = policy.latency
        pair = tuple(_percentile(run, limit) for run in runs)
        what = f"latency, {limit.percentile} ({limit.clock})"
        missing = f"too few samples carry {limit.percentile}: docs/metrics.md says how many it needs"
        yield _judge_cost(what, runs, pair, limit.worse_percent, unit="ms", missing=missing)
    for what, percent, read in (
        ("GPU memory, peak", policy.gpu_memory_percent, gpu_memory_mb),
        ("host memory of a worker, peak", policy.host_memory_percent, host_memory_mb),
    ):
        if percent is not None:
            pair = tuple(read(run) for run in runs)
            yield _judge_cost(what, runs, pair, percent, unit="MB", missing="it was not measured in both runs")
    if policy.energy_percent is not None:
        energies = [_summary(run).get("energy") or {} for run in runs]
        pair = tuple(one.get("j_per_sample") for one in energies)
        reason = next((one["reason"] for one in energies if one.get("reason")), "it was not measured in both runs")
        if len({(one.get("scope"), one.get("basis")) for one in energies}) > 1:
            pair, reason = (None, None), "the runs measured other parts of their machines"
        yield _judge_cost("energy of a sample", runs, pair, policy.energy_percent, unit="J", missing=str(reason))


def _judge_cost(
    what: str,
    runs: tuple[RunFolder, RunFolder],
    pair: tuple[float | None, ...],
    percent: float,
    *,
    unit: str,
    missing: str,
) -> Judgement:
    before, now = pair
    limit = f"more by at most {percent:g} %"
    outcome: Outcome = "passed"
    reason = ""
    devices = [_device(run) for run in runs]
    if devices[0] != devices[1]:
        outcome, reason = "not judged", f"the runs were on {devices[0]} and {devices[1]}"
    elif before is None or now is None:
        outcome, reason = "not judged", missing
    elif now > before * (1 + percent / 100):
        more = f"{100 * (now / before - 1):.1f} %" if before else f"{now:g} {unit}"
        outcome, reason = "failed", f"it is more by {more}"
    return Judgement(what=what, outcome=outcome, baseline=before, candidate=now, limit=limit, reason=reason, unit=unit)


def _judge_failures(baseline: RunFolder, candidate: RunFolder, policy: Policy) -> Iterator[Judgement]:
    before, now = (_failure_classes(run) for run in (baseline, candidate))
    new = sorted(set(now) - set(before))
    failed, limit = (sum(before.values()), sum(now.values())), policy.failures.more_samples
    yield Judgement(
        what="failed samples",
        outcome="failed" if failed[1] - failed[0] > limit else "passed",
        baseline=failed[0],
        candidate=failed[1],
        limit=f"more by at most {limit}",
    )
    if not policy.failures.new_classes:
        yield Judgement(
            what="failure classes",
            outcome="failed" if new else "passed",
            baseline=len(before),
            candidate=len(now),
            limit="no new one",
            reason=f"new: {', '.join(new)}" if new else "",
        )


def _failure_classes(run: RunFolder) -> Counter[str]:
    found: Counter[str] = Counter()
    for entry in _metadata(run):
        if entry.failure is not UNSET:
            found[entry.failure.kind] += 1
    return found


def _metadata(run: RunFolder) -> Iterator[Metadata]:
    return (record.metadata for record in run.records())


def _percentile(run: RunFolder, limit: LatencyPolicy) -> float | None:
    latency = _summary(run).get("latency") or {}
    found: Mapping[str, Any] = (
        latency.get(limit.clock.replace("-", "_"), {}).get("percentiles", {}).get(limit.percentile, {})
    )
    value = found.get("value_s")
    return None if value is None else 1e3 * float(value)


def gpu_memory_mb(run: RunFolder) -> float | None:
    return max((one.gpu_memory_used for one in _metadata(run) if one.gpu_memory_used is not None), default=None)


def host_memory_mb(run: RunFolder) -> float | None:
    readings = read_telemetry(run.telemetry_path, [])
    return max((one.worker_memory_mb for one in readings if one.worker_memory_mb is not None), default=None)


def _device(run: RunFolder) -> str:
    return run.header.gpu or run.header.device_kind


def _summary(run: RunFolder) -> dict[str, Any]:
    try:
        content: dict[str, Any] = json.loads(run.metrics_path.read_bytes())
    except (OSError, ValueError) as error:
        raise RecordError(
            f"the evaluation of run {run.path.name} cannot be read: {error}", hint=f"admlops evaluate {run.path.name}"
        ) from error
    return content


def to_markdown(verdict: Verdict) -> str:
    """The verdict as a comment on a pull request: failures first, the rest folded."""
    bad = [one for one in verdict.judgements if one.outcome != "passed"]
    good = [one for one in verdict.judgements if one.outcome == "passed"]
    word = "passed" if verdict.passed else "failed"
    lines = [f"**Regression gate {word}**: `{verdict.candidate}` against `{verdict.baseline}`", ""]
    lines += _table(bad) if bad else []
    if good:
        folded = [f"<details><summary>{len(good)} passed</summary>", "", *_table(good), "</details>", ""]
        lines += folded if bad else _table(good)
    return "\n".join(lines)


def _table(judgements: Sequence[Judgement]) -> list[str]:
    rows = [
        "| "
        + " | ".join(
            (
                one.what,
                spell(one.baseline, one.unit),
                spell(one.candidate, one.unit),
                "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}",
                one.limit,
                one.outcome + (f": {one.reason}" if one.reason else ""),
            )
        )
        + " |"
        for one in judgements
    ]
    head = "| what | baseline | candidate | difference, 95 % | limit | outcome |"
    return [head, "|---|---|---|---|---|---|", *rows, ""]


def spell(value: float | None, unit: str) -> str:
    """A value with its unit: whole counts as they are, metrics with four digits."""
    if value is None:
        return "-"
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f} {unit}" if unit else f"{value:.4f}"
