"""What the page says, worked out from the runs: plain values that the templates only have to place."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from admlops.catalog.model import Claim
from admlops.catalog.protocols import LATENCY, headlines_of
from admlops.evaluation.metrics import Metric
from admlops.evaluation.statistics.ranking import Axis, Ranking, radar_axes, rankings
from admlops.pipeline.run_data import NOT_SET_UP, RunData
from admlops.results.header import RunHeader, Submission
from admlops.worker.precision import AUTHORS

PUBLISHED_SPLIT = "val"
"""The split of nuScenes and OpenLane-V2 that published numbers are measured on."""


@dataclass(frozen=True, kw_only=True)
class ClaimRow:
    """A published number beside the measured one; `reason` says why they cannot be compared, empty where they can."""

    label: str
    metric: str
    protocol: str
    claimed: str
    measured: str
    difference: str
    conditions: str
    source: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Scores:
    """The comparable scores of one protocol on one set of samples."""

    protocol: str
    dataset: str
    n: int
    rankings: tuple[Ranking, ...]
    axes: tuple[Axis, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Failed samples of one run and class."""

    label: str
    kind: str
    count: int
    message: str
    hint: str


def label_runs(runs: Sequence[RunData]) -> list[str]:
    """A label a run: the model's name, with its engine if it has one, or the run's where two runs have the same."""
    names = [_name_with_engine(run) for run in runs]
    count = Counter(names)
    return [name if count[name] == 1 else run.name for name, run in zip(names, runs, strict=True)]


def _name_with_engine(run: RunData) -> str:
    engine = "" if run.header is None else run.header.execution
    return f"{run.model}@{engine}" if engine else run.model


@dataclass(frozen=True)
class Verdict:
    """A verdict on the latency of the runs with these labels: why, and what to do where it is INVALID."""

    labels: tuple[str, ...]
    verdict: str
    why: str
    advice: str = ""


def group_verdicts(labels: Sequence[str], runs: Sequence[RunData]) -> list[Verdict]:
    """The verdicts on the runs' latency, in order of appearance; runs with the same reasons share one."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for label, run in zip(labels, runs, strict=True):
        if run.latency is not None:
            found.setdefault((run.latency.verdict, _why_verdict(run), _advise(run)), []).append(label)
    return [
        Verdict(labels=tuple(names), verdict=verdict, why=why, advice=advice)
        for (verdict, why, advice), names in found.items()
    ]


def _advise(run: RunData) -> str:
    """What makes an INVALID latency VALID; empty for a valid one."""
    if run.latency is None or run.latency.verdict == "VALID":
        return ""
    steps = []
    if run.failed:
        steps.append(f"admlops run {run.model} --run {run.name} --retry-failed")
    wanted = run.latency.suggested_samples
    if wanted > len(run.samples):
        steps.append(f"admlops run {run.model} --limit {wanted}")
    return f"Next: {'; then '.join(steps)}" if steps else f"Next: admlops run {run.model}"


def warn_of_precisions(labels: Sequence[str], runs: Sequence[RunData]) -> str:
    """Say which runs' times do not compare because their arithmetic differs; empty where it does not."""
    found: dict[str, list[str]] = {}
    for label, run in zip(labels, runs, strict=True):
        if run.latency is not None and run.latency.precision is not None:
            found.setdefault(run.latency.precision, []).append(label)
    if len(found) < 2:
        return ""
    groups = "; ".join(f"{', '.join(names)}: {precision}" for precision, names in found.items())
    return f"Times compare only within one precision: {groups}."


def _why_verdict(run: RunData) -> str:
    assert run.latency is not None
    if not run.latency.reasons:
        return "every sample was timed, and there are enough of them."
    wanted = run.latency.suggested_samples
    enough = f" {wanted} samples of the same number of scenes would be enough." if wanted > len(run.samples) else ""
    return f"{'; '.join(run.latency.reasons)}.{enough}"


def compare_claims(label: str, run: RunData) -> list[ClaimRow]:
    """Every published number of a run's model beside the measured one."""
    return [_compare_claim(label, run, claim) for claim in run.claims]


def group_scores(labels: Sequence[str], runs: Sequence[RunData]) -> list[Scores]:
    """The rankings and radar axes, one group a protocol and set of samples: nothing else is comparable."""
    groups: dict[tuple[str, str], dict[str, list[Metric]]] = {}
    for label, run in zip(labels, runs, strict=True):
        for metric in run.measured:
            if metric.protocol != LATENCY:
                groups.setdefault((metric.protocol, metric.dataset), {}).setdefault(label, []).append(metric)
    return [
        Scores(
            protocol=protocol,
            dataset=dataset,
            n=max(metric.n for own in metrics.values() for metric in own),
            rankings=tuple(r for r in rankings(metrics) if r.name in headlines_of(r.protocol)),
            axes=tuple(radar_axes(metrics)),
            labels=tuple(metrics),
        )
        for (protocol, dataset), metrics in groups.items()
    ]


def group_failures(label: str, run: RunData) -> list[FailureGroup]:
    """The failed samples by class, with the first message and hint of each."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for meta in run.failed:
        failure = meta.failure
        kind, message, hint = (failure.kind, failure.message, failure.hint) if failure else ("unknown", "", "")
        groups.setdefault(kind, []).append((message, hint))
    return [
        FailureGroup(label=label, kind=kind, count=len(found), message=found[0][0], hint=found[0][1])
        for kind, found in groups.items()
    ]


def find_curves(labels: Sequence[str], runs: Sequence[RunData], task: str, at: float) -> dict[str, dict[str, Any]]:
    """Class → run's label → (recall, precision), of the curves of `task` at the threshold `at`."""
    classes: dict[str, dict[str, Any]] = {}
    for label, run in zip(labels, runs, strict=True):
        for name, thresholds in run.details.get(task, {}).get("curves", {}).items():
            for threshold, curve in thresholds.items():
                if float(threshold) == at and curve["recall"]:
                    classes.setdefault(name, {})[label] = (curve["recall"], curve["precision"])
    return classes


def average_precision(run: RunData, task: str, class_name: str, at: float) -> float | None:
    """The AP of a class at a threshold, where the run has it."""
    values = run.details.get(task, {}).get("classes", {}).get(class_name, {}).get("ap", {})
    return next((value for threshold, value in values.items() if float(threshold) == at), None)


def describe_data(run: RunData) -> str:
    """E.g. `nuScenes v1.0-mini, split mini_val: 2 scenes, 80 samples`."""
    header = run.header
    if header is None:
        return ""
    scenes, samples = len(header.scenes), sum(header.scenes.values())
    if header.data.kind == "images":
        split_ = f", split {header.data.split}" if header.data.split not in (None, "all") else ""
        what = "synthetic pictures" if header.data.synthetic else "pictures"
        return f"{samples} {what}, {header.data.version}{split_}, in {_count(scenes, 'scene')}"
    split = f"split {header.data.split}" if header.data.split else "named scenes or tokens"
    nuscenes = header.data.version.startswith("v1.0-")
    name, layout = ("nuScenes", "nuScenes'") if nuscenes else ("OpenLane-V2", "OpenLane-V2's")
    kind = f"synthetic scenes in {layout} layout" if header.data.synthetic else name
    return f"{kind}, {header.data.version}, {split}: {_count(scenes, 'scene')}, {_count(samples, 'sample')}"


def list_provenance(run: RunData) -> list[tuple[str, str]]:
    """Return what to know to repeat a run, as (name, value)."""
    header = run.header
    if header is None:
        return []
    code, machine = header.provenance, header.provenance
    libraries: Mapping[str, str] = run.worker.get("libraries", {})
    facts: list[tuple[str, str]] = [
        ("run", header.run),
        ("model, variant", f"{header.model}, {header.variant}"),
        ("started", header.created),
        *_list_source(header),
        ("licences", ", ".join(f"{what}: {name}" for what, name in header.provenance.licenses.items())),
        ("sensors", " and ".join(header.provenance.sensors)),
        ("environment digest", header.environment.digest),
        ("environment's Python", _text(run.worker.get("python") or header.environment.python)),
        ("libraries", ", ".join(f"{name} {version}" for name, version in sorted(libraries.items()))),
        ("adapter digest", _text(run.worker.get("digest"))),
        ("admlops", f"{code.admlops}, commit {code.commit or 'unknown (not a git checkout)'}"),
        ("data set", f"{header.data.root}, {header.data.version}"),
        ("samples sha256", header.data.samples_sha256),
        ("machine", machine.host),
        ("GPUs", ", ".join(machine.gpus) or "none"),
        ("driver", machine.driver or "none"),
        ("device", _text(run.worker.get("device_name"))),
        *(("lost on the way", f"{lost.sentence}; to do: {lost.hint}") for lost in run.lost_devices),
        ("precision in force", (run.latency.precision if run.latency else None) or ""),
        ("CUDA graphs", (run.latency.graphs if run.latency else None) or ""),
        ("fixes applied", ", ".join(sorted({fix for meta in run.samples for fix in meta.fixes}))),
        *((f"setting: {key}", _text(value)) for key, value in header.settings.items()),
        *((f"option: {key}", _text(value)) for key, value in header.options.items()),
        ("manifest sha256", run.manifest_sha256 or "none yet"),
    ]
    return [(name, value) for name, value in facts if value]


def _list_source(header: RunHeader) -> list[tuple[str, str]]:
    """Say what the records come from: an environment, or a results file."""
    if not isinstance(header.submission, Submission):
        return [("environment", f"{header.environment.name} ({header.environment.backend})")]
    source = header.submission
    return [("results file", f"{source.file} ({source.format})"), ("results file sha256", source.sha256)]


def number(value: float | None, *, digits: int = 3) -> str:
    """A number for a cell, with thin spaces between thousands; "—" for none, and for what is no number."""
    return "—" if value is None or not math.isfinite(value) else f"{value:,.{digits}f}".replace(",", "\u2009")


def quantity(value: float | None) -> str:
    """A measured quantity: one decimal from 10 on, three significant digits below; "—" for none."""
    if value is None or value >= 10 or value == 0:
        return number(value, digits=1)
    return f"{value:.3g}" if value >= 1e-3 else f"{value:.1e}"


def moment(text: str) -> str:
    """A time in ISO 8601 for people, e.g. `2 January 2026, 03:04 UTC`; unchanged if it is not one."""
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = "" if at.tzinfo is None else f" {at.tzname()}"
    return f"{at.day} {at:%B %Y, %H:%M}{zone}"


def _compare_claim(label: str, run: RunData, claim: Claim) -> ClaimRow:
    measured = _measured_for(run, claim)
    reason = _why_not(run, claim, measured)
    known = None if measured is None or reason else measured - claim.value
    conditions = [claim.checkpoint and f"checkpoint {claim.checkpoint}", claim.config and f"config {claim.config}"]
    return ClaimRow(
        label=label,
        metric=claim.metric,
        protocol=claim.protocol,
        claimed=f"{claim.value:g}",
        measured=number(measured, digits=1 if claim.protocol == LATENCY else 3),
        difference="" if known is None else f"{known:+.3f}",
        conditions=", ".join(part for part in [*conditions, claim.device] if part),
        source=claim.source,
        reason=reason,
    )


def _measured_for(run: RunData, claim: Claim) -> float | None:
    if claim.protocol == LATENCY:
        return run.latency.inference_fps if run.latency else None
    same = (m.value for m in run.measured if (m.name, m.protocol) == (claim.metric, claim.protocol))
    return next(same, None)


def _why_not(run: RunData, claim: Claim, measured: float | None) -> str:
    header = run.header
    if header is None:
        return NOT_SET_UP
    if measured is None:
        others = sorted({m.protocol for m in run.measured if m.name == claim.metric})
        return f"measured under another protocol: {', '.join(others)}" if others else "not measured in this run"
    if header.random_weights:
        return "measured with random weights"
    if header.data.synthetic:
        return "measured on synthetic data"
    if claim.checkpoint is not None and claim.checkpoint != run.checkpoint:
        used = run.checkpoint or header.settings.get("checkpoint")
        return f"measured with {f'checkpoint {used}' if used else 'another checkpoint'}"
    if claim.protocol == LATENCY:
        gpus = ", ".join(header.provenance.gpus) or "the CPU"
        if claim.device not in header.provenance.gpus:
            return f"measured on {gpus}"
        asked = header.settings.get("precision", AUTHORS)
        return "" if asked == AUTHORS else f"measured with --precision {asked}"
    published = claim.version or ("subset_A" if claim.protocol.startswith("openlanev2.") else "v1.0-trainval")
    if (header.data.version, header.data.split) != (published, PUBLISHED_SPLIT):
        measured_on = f"{header.data.version}, {header.data.split or 'chosen samples'}"
        return f"measured on {measured_on}; published on {published}, {PUBLISHED_SPLIT}"
    return ""


def _count(number_of: int, what: str) -> str:
    return f"{number_of} {what}{'' if number_of == 1 else 's'}"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_text(inner)}" for key, inner in value.items())
    if isinstance(value, list | tuple):
        return " ".join(str(inner) for inner in value)
    return "" if value is None else str(value)
