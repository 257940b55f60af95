"""The verdicts on an engine: one for each of four steps; the first that fails names the layer at fault.

1. file: what the ONNX file is, and whether it opens where it should.
2. tensors: each frame from the reference's own state, on two rigs.
3. decoded: what the engine makes of whole scenes, matched and never compared row by row.
4. metrics: what it is worth on the same samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from admlops.core.counting import count_of
from admlops.deployment.bounds import Bounds
from admlops.deployment.matching import Matched

FILE, TENSORS, DECODED, METRICS = "file", "tensors", "decoded", "metrics"
STEPS = (FILE, TENSORS, DECODED, METRICS)
Verdict = Literal["passed", "failed", "not judged", "not run"]
BAKED_IN, NOT_FINITE, SHAPE, APART = "baked_in", "not_finite", "shape", "apart"
FAILED_SAMPLES, UNMATCHED, METRIC = "failed_samples", "unmatched", "metric"


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step: its verdict, why, and the numbers. `fault` is a word for what failed, for programs."""

    name: str
    verdict: Verdict
    reason: str = ""
    fault: str | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the form in the verification's JSON."""
        return {
            "step": self.name,
            "verdict": self.verdict,
            "fault": self.fault,
            "reason": self.reason,
            "facts": dict(self.facts),
        }


@dataclass(frozen=True, kw_only=True)
class Verification:
    """What was found of one engine. `about` names the model, the file, its arithmetic, the runtime and the data."""

    about: Mapping[str, Any]
    steps: tuple[Step, ...]
    needs_metrics: bool
    bisect: Mapping[str, Any] | None = None

    @property
    def failed(self) -> Step | None:
        """The first step that failed: the layer at fault."""
        return next((step for step in self.steps if step.verdict == "failed"), None)

    @property
    def passed(self) -> bool:
        """Whether nothing failed, everything ran, and what decides for this arithmetic was judged."""
        verdicts = {step.name: step.verdict for step in self.steps}
        decisive = [METRICS] if self.needs_metrics else [TENSORS, DECODED]
        return (
            self.failed is None
            and "not run" not in verdicts.values()
            and all(verdicts.get(name) == "passed" for name in [FILE, *decisive])
        )

    @property
    def outcome(self) -> str:
        """A sentence: verified, or what failed, or what is lacking."""
        if self.failed is not None:
            return f"not verified: the step {self.failed.name} failed: {self.failed.reason}"
        if self.passed:
            return "verified"
        step = next(step for step in self.steps if step.verdict != "passed")
        return f"not verified: the step {step.name} was {step.verdict}: {step.reason}"

    def to_json(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **self.about,
            "passed": self.passed,
            "outcome": self.outcome,
            "failed": None if self.failed is None else self.failed.name,
            "steps": [step.to_json() for step in self.steps],
            "bisect": None if self.bisect is None else dict(self.bisect),
        }


def judge_file(found: Mapping[str, Any]) -> Step:
    """Judge what the job found of the file."""
    if "fault" in found:
        return Step(name=FILE, verdict="failed", reason=str(found["reason"]), fault=str(found["fault"]))
    opened = f"opened by {found['provider']}"
    if "opset" in found:
        opened = f"opset {found['opset']}, {found['precision']}, {found['nodes']} nodes, no custom operator; {opened}"
    return Step(name=FILE, verdict="passed", reason=opened, facts=found)


def judge_tensors(found: Sequence[Mapping[str, Any]], bounds: Bounds, *, random_weights: bool) -> Step:
    """Judge the tensors that the job compared: a list of `worker.verify.Tensor.to_json`."""
    facts = {"tensors": list(found)}
    broken = next((one for one in found if one["fault"] is not None), None)
    if broken is not None:
        fault = SHAPE if "shape" in broken["fault"] else NOT_FINITE
        reason = f"{broken['tensor']} {broken['fault']}, {broken['rig']} rig"
        return Step(name=TENSORS, verdict="failed", reason=reason, fault=fault, facts=facts)
    lost = max(found, key=lambda one: one.get("unpaired") or 0.0)
    if bounds.unpaired is not None and (lost.get("unpaired") or 0.0) > bounds.unpaired:
        reason = f"{100 * lost['unpaired']:.3g} % of the rows of {lost['tensor']} have no counterpart"
        return Step(name=TENSORS, verdict="failed", reason=reason, fault=UNMATCHED, facts=facts)
    over = [one for one in found if _is_over(one, bounds)]
    said = _spell(max(found, key=lambda one: _measure(one, bounds)), bounds)
    frames, seen = max(one["frames"] for one in found), len({one["rig"] for one in found})
    rigs = f"{count_of(frames, 'call')}, {count_of(seen, 'rig')}"
    if bounds.tensor is None and bounds.tensor_p999 is None:
        return Step(name=TENSORS, verdict="not judged", reason=f"int8 has no bound; {said}; {rigs}", facts=facts)
    if not over:
        return Step(name=TENSORS, verdict="passed", reason=f"{said}; {rigs}", facts=facts)
    if random_weights and bounds.tensor is None:
        reason = f"with random weights half precision says nothing: {said}"
        return Step(name=TENSORS, verdict="not judged", reason=reason, facts=facts)
    worst = max(over, key=lambda one: _measure(one, bounds))
    if all(one["rig"] == "moved" for one in over):
        reason = f"right on its own rig and wrong on another, so the rig was baked in: {_spell(worst, bounds)}"
        return Step(name=TENSORS, verdict="failed", reason=reason, fault=BAKED_IN, facts=facts)
    return Step(name=TENSORS, verdict="failed", reason=_spell(worst, bounds), fault=APART, facts=facts)


def _measure(one: Mapping[str, Any], bounds: Bounds) -> float:
    """Return how far a tensor is from the reference, over its bound if it has one."""
    if bounds.tensor_p999 is not None:
        return _share(one) / bounds.tensor_p999
    return float(one["largest"] or 0.0) / (_bound(one, bounds) or 1.0)


def _bound(one: Mapping[str, Any], bounds: Bounds) -> float | None:
    return bounds.tensor_bound(float(one["range"]), str(one.get("unit", "")))


def _is_over(one: Mapping[str, Any], bounds: Bounds) -> bool:
    return not (bounds.tensor is None and bounds.tensor_p999 is None) and _measure(one, bounds) > 1


def _share(one: Mapping[str, Any]) -> float:
    """The 99.9th percentile of |differences|, over the range."""
    return float(one["p999"] or 0.0) / (float(one["range"]) or 1.0)


def _spell(one: Mapping[str, Any], bounds: Bounds) -> str:
    where = f"{one['tensor']}, {one['rig']} rig, call {one['worst_frame'] + 1}"
    if bounds.tensor_p999 is not None:
        return f"p99.9 of |d| {_share(one):.2g} of the range (bound {bounds.tensor_p999:g}): {where}"
    limit = _bound(one, bounds)
    bound = "" if limit is None else f" (bound {limit:.2g})"
    return f"largest |d| {float(one['largest'] or 0.0):.2g}{bound}: {where}"


def judge_decoded(found: Sequence[Matched], failures: Mapping[str, int], bounds: Bounds) -> Step:
    """Judge matched outputs; `failures` are how many samples failed, by run."""
    facts = {"tasks": [one.to_json() for one in found], "failed_samples": dict(failures)}
    if any(failures.values()):
        counts = ", ".join(f"{count} with {name}" for name, count in failures.items() if count)
        reason = f"samples failed: {counts}"
        return Step(name=DECODED, verdict="failed", reason=reason, fault=FAILED_SAMPLES, facts=facts)
    if not sum(one.outputs for one in found):
        return Step(name=DECODED, verdict="not judged", reason="neither gives any output", facts=facts)
    said = "; ".join(_spell_matched(one) for one in found if one.outputs)
    if not bounds.decoded:
        return Step(name=DECODED, verdict="not judged", reason=f"the metrics decide; {said}", facts=facts)
    alone = next((one for one in found if one.unmatched), None)
    if alone is not None:
        reason = f"{alone.unmatched} of {alone.outputs} {alone.task} have no counterpart, ties left out"
        return Step(name=DECODED, verdict="failed", reason=reason, fault=UNMATCHED, facts=facts)
    limits = _limits(bounds)
    for one in found:
        for quantity, value in one.largest.items():
            if value > limits.get(quantity, float("inf")):
                where = f"sample {one.where[quantity]}"
                reason = f"{one.task}: {quantity} {value:.2g} (bound {limits[quantity]:g}), {where}"
                return Step(name=DECODED, verdict="failed", reason=reason, fault=APART, facts=facts)
    return Step(name=DECODED, verdict="passed", reason=said, facts=facts)


def _limits(bounds: Bounds) -> dict[str, float]:
    return {
        "centre_m": bounds.centre_m,
        "points_m": bounds.centre_m,
        "size_m": bounds.size_m,
        "yaw_rad": bounds.yaw_rad,
        "velocity_m_s": bounds.velocity_m_s,
        "score": bounds.score,
        "iou_lost": 1 - bounds.iou,
    }


def _spell_matched(one: Matched) -> str:
    apart = ", ".join(f"{quantity} {value:.2g}" for quantity, value in one.largest.items())
    ties = f", {one.ties} ties" if one.ties else ""
    return f"{one.task}: {100 * one.share:.4g} % of {one.outputs} matched{ties}; {apart or 'nothing to measure'}"


def judge_metrics(differences: Sequence[Mapping[str, Any]], bounds: Bounds, *, why_not: str | None) -> Step:
    """Judge the headline metrics' differences, engine less PyTorch; `why_not` says why they decide nothing."""
    known = [one for one in differences if one["difference"] is not None]
    facts = {"differences": list(differences)}
    if why_not is not None or not known:
        reason = why_not or "no headline metric has a value in both runs"
        return Step(name=METRICS, verdict="not judged", reason=reason, facts=facts)
    worst = max(known, key=lambda one: abs(float(one["difference"])))
    said = "; ".join(_spell_difference(one) for one in known)
    if abs(float(worst["difference"])) > bounds.metric:
        reason = f"{_spell_difference(worst)} (bound {bounds.metric:g})"
        return Step(name=METRICS, verdict="failed", reason=reason, fault=METRIC, facts=facts)
    return Step(name=METRICS, verdict="passed", reason=said, facts=facts)


def _spell_difference(one: Mapping[str, Any]) -> str:
    between = one["interval"]
    known = f"[{between[0]:+.4f}, {between[1]:+.4f}]" if between else one["reason"] or "no interval"
    return f"{one['metric']} {one['a']:.4f} → {one['b']:.4f}, {one['difference']:+.4f}; {known}"
