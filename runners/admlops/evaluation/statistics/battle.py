"""The verdicts of a battle: which of two models is better, or why nobody can say.

The question of the score is one metric, named before anything ran. It has a winner only if the 95 % interval of the
paired difference excludes 0 (`paired_bootstrap`); an interval that holds 0 is a tie, whatever the values are. Speed,
memory and energy are further questions, asked where both ran on the same device at the same precision and batch.
Without a second run chance cannot be ruled out, so a difference of up to `MARGIN` is a tie.

Every interval is of one pair at 95 %. Among many pairs of equal models one in twenty has a winner by chance alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from admlops.core.errors import ComparabilityError, UsageError
from admlops.evaluation.metrics import Metric, require_comparable
from admlops.evaluation.statistics.bootstrap import MIN_SCENES, RESAMPLES, SEED, Values, interval, p_value
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, compare_metric

Verdict = Literal["winner", "tie", "not decided", "not comparable"]
MARGIN = 0.05
"""The share by which two runs of one model on one machine may well differ in speed, memory and energy."""
MIN_TIMES = MIN_SCENES
"""Samples that both timed; with fewer an interval says little."""


@dataclass(frozen=True, kw_only=True)
class Side:
    """One side of a question about a resource: its value, and what both sides must have in common."""

    name: str
    value: float | None
    conditions: Mapping[str, str | None]
    why_not: str = ""
    """Why there is no value."""


@dataclass(frozen=True, kw_only=True)
class Judgement:
    """The answer to one question. `difference` is b - a.

    `winner` names a model where the verdict is `winner`; `reason` says in a sentence why the verdict is what it is.
    """

    question: str
    metric: str
    protocol: str
    unit: str
    higher_is_better: bool
    a: float | None
    b: float | None
    difference: float | None
    interval: tuple[float, float] | None
    p_value: float | None
    n: int | None
    verdict: Verdict
    winner: str | None
    reason: str

    def to_json(self) -> dict[str, Any]:
        """The form in `comparison_summary.json`."""
        return {**asdict(self), "interval": None if self.interval is None else list(self.interval)}


@dataclass(frozen=True, kw_only=True)
class Battle:
    """Two models over the same samples: the verdict is that of the primary metric.

    `named` says who chose the metric before the runs: `--metric`, the user, or `default`, the first headline that both
    have, in the order of the registry.
    """

    models: tuple[str, str]
    runs: tuple[str, str]
    named: str
    primary: Judgement
    further: tuple[Judgement, ...] = ()

    @property
    def verdict(self) -> Verdict:
        return self.primary.verdict

    @property
    def winner(self) -> str | None:
        return self.primary.winner

    def to_json(self) -> dict[str, Any]:
        """The form in `comparison_summary.json`."""
        return {
            "models": list(self.models),
            "runs": list(self.runs),
            "verdict": self.verdict,
            "winner": self.winner,
            "reason": self.primary.reason,
            "named": self.named,
            "primary": self.primary.to_json(),
            "further": [one.to_json() for one in self.further],
        }


def judge_score(names: tuple[str, str], runs: tuple[EvaluatedRun, EvaluatedRun], protocol: str, name: str) -> Judgement:
    """Judge by one metric of a protocol; a protocol's suffix, such as the digest of the ground truth, may be left out.

    Raises:
        UsageError: neither run has the metric.
    """
    a, b = (find_metric_of(run, protocol, name) for run in runs)
    if a is None and b is None:
        raise UsageError(
            f"neither {names[0]} nor {names[1]} has {name} of {protocol}",
            hint=f"choose one that both have: {', '.join(shared_metrics(*runs)) or 'there is none'}",
        )
    known = a or b
    assert known is not None
    shape = _Shape(question="score", metric=name, protocol=known.protocol, higher_is_better=known.higher_is_better)
    if a is None or b is None:
        without = names[0] if a is None else names[1]
        return shape.refuse(f"{without} has no {name} of {known.protocol}", a=a, b=b)
    try:
        require_comparable(a, b)
    except ComparabilityError as error:
        return shape.refuse(error.message, a=a, b=b)
    for side, metric in zip(names, (a, b), strict=True):
        if metric.value is None:
            return shape.refuse(f"{name} is not defined for {side}", a=a, b=b)
    return _decide(shape, names, runs, a, b)


def _decide(
    shape: _Shape, names: tuple[str, str], runs: tuple[EvaluatedRun, EvaluatedRun], a: Metric, b: Metric
) -> Judgement:
    found = compare_metric(a, b, *runs)
    values = {
        "a": found.a,
        "b": found.b,
        "difference": found.difference,
        "interval": found.interval,
        "p_value": found.p_value,
        "n": found.n,
    }
    if found.interval is None:
        return shape.make(verdict="not decided", winner=None, reason=found.reason or "no interval", **values)
    low, high = found.interval
    spelled = f"the 95 % interval of the difference, {low:+.4f} to {high:+.4f},"
    if low <= 0 <= high:
        return shape.make(verdict="tie", winner=None, reason=f"{spelled} holds 0", **values)
    winner = names[1] if (low > 0) == shape.higher_is_better else names[0]
    return shape.make(verdict="winner", winner=winner, reason=f"{spelled} excludes 0", **values)


@dataclass(frozen=True, kw_only=True)
class _Shape:
    """What all answers to a question have in common."""

    question: str
    metric: str
    protocol: str = ""
    unit: str = ""
    higher_is_better: bool = False

    def make(self, **values: Any) -> Judgement:
        return Judgement(
            question=self.question,
            metric=self.metric,
            protocol=self.protocol,
            unit=self.unit,
            higher_is_better=self.higher_is_better,
            **{"difference": None, "interval": None, "p_value": None, "n": None, **values},
        )

    def refuse(self, reason: str, *, a: Metric | None, b: Metric | None) -> Judgement:
        values = {"a": None if a is None else a.value, "b": None if b is None else b.value}
        return self.make(verdict="not comparable", winner=None, reason=reason, **values)


def refuse_score(reason: str) -> Judgement:
    """Return the answer where the two have no metric in common."""
    return _Shape(question="score", metric="").refuse(reason, a=None, b=None)


def judge_resource(question: str, metric: str, unit: str, a: Side, b: Side) -> Judgement:
    """Judge a measured quantity of which less is better and of which each side has one value."""
    shape = _Shape(question=question, metric=metric, unit=unit)
    values: dict[str, Any] = {"a": a.value, "b": b.value}
    if a.value is None or b.value is None:
        lacking = a if a.value is None else b
        reason = f"{lacking.name}: {lacking.why_not or 'not measured'}"
        return shape.make(verdict="not decided", winner=None, reason=reason, **values)
    refusal = _why_unlike(a, b)
    if refusal:
        return shape.make(verdict="not comparable", winner=None, reason=refusal, **values)
    values["difference"] = b.value - a.value
    return _judge_margin(shape, a, b, values)


def judge_times(a: Side, b: Side, times: Sequence[tuple[float, float]], *, refusal: str = "") -> Judgement:
    """Judge by the mean time of a sample [ms] on the samples that both timed, `times` (n pairs) [s].

    `refusal` says why the times are no latencies; empty where they are.
    """
    shape = _Shape(question="speed", metric="mean time", unit="ms/sample")
    refusal = refusal or _why_unlike(a, b)
    pairs = np.array(times, dtype=np.float64).reshape(-1, 2) * 1e3
    means: list[Any] = pairs.mean(axis=0).tolist() if len(pairs) else [None, None]
    values: dict[str, Any] = {"a": means[0], "b": means[1], "n": len(pairs)}
    if refusal:
        return shape.make(verdict="not comparable", winner=None, reason=refusal, **values)
    if len(pairs) < MIN_TIMES:
        reason = f"too few samples that both timed: {len(pairs)}, at least {MIN_TIMES} are needed"
        return shape.make(verdict="not decided", winner=None, reason=reason, **values)
    differences = _resample_means(pairs[:, 1] - pairs[:, 0])
    values |= {"difference": means[1] - means[0], "interval": interval(differences), "p_value": p_value(differences)}
    low, high = interval(differences) or (0.0, 0.0)
    if low <= 0 <= high:
        reason = f"the 95 % interval of the difference, {low:+.3g} to {high:+.3g} ms, holds 0"
        return shape.make(verdict="tie", winner=None, reason=reason, **values)
    return _judge_margin(shape, _with(a, means[0]), _with(b, means[1]), values)


def _judge_margin(shape: _Shape, a: Side, b: Side, values: Mapping[str, Any]) -> Judgement:
    assert a.value is not None
    assert b.value is not None
    less, more = sorted((a, b), key=lambda side: side.value or 0.0)
    assert less.value is not None
    assert more.value is not None
    share = 1 - less.value / more.value if more.value > 0 else 0.0
    if share <= MARGIN:
        reason = f"they differ by {share:.1%}; two runs of one model may differ by {MARGIN:.0%}"
        return shape.make(verdict="tie", winner=None, reason=reason, **values)
    return shape.make(verdict="winner", winner=less.name, reason=f"{share:.0%} less than {more.name}", **values)


def _why_unlike(a: Side, b: Side) -> str:
    """Say which condition is not the same, or not known; empty where all are."""
    for what in dict.fromkeys([*a.conditions, *b.conditions]):
        own, other = a.conditions.get(what), b.conditions.get(what)
        if own is None or other is None:
            return f"the {what} of {a.name if own is None else b.name} is not known"
        if own != other:
            return f"different {what}: {own} and {other}"
    return ""


def _resample_means(values: Values) -> Values:
    generator = np.random.default_rng(SEED)
    often = generator.multinomial(len(values), np.full(len(values), 1 / len(values)), size=RESAMPLES)
    means: Values = often @ values / len(values)
    return means


def _with(side: Side, value: float | None) -> Side:
    return Side(name=side.name, value=value, conditions=side.conditions)


def find_metric_of(run: EvaluatedRun, protocol: str, name: str) -> Metric | None:
    """Return a run's metric; `protocol` may lack its suffix, or be empty where the name alone is meant."""
    own = [one for one in run.metrics if one.name == name]
    exact = [one for one in own if one.protocol == protocol]
    begun = [one for one in own if not protocol or one.protocol.startswith((f"{protocol}@", f"{protocol}."))]
    return next(iter([*exact, *begun]), None)


def shared_metrics(a: EvaluatedRun, b: EvaluatedRun) -> list[str]:
    """The metrics that both have, as `protocol/name`, without the digest of the ground truth."""
    theirs = {(one.protocol, one.name) for one in b.metrics}
    return [f"{one.protocol.partition('@')[0]}/{one.name}" for one in a.metrics if (one.protocol, one.name) in theirs]
