"""Battles: two evaluated runs put against each other, question by question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from admlops.catalog.protocols import find_evaluation, headlines_of
from admlops.catalog.registries import EVALUATIONS
from admlops.core.errors import UsageError
from admlops.evaluation.statistics.battle import (
    Battle,
    Judgement,
    Side,
    find_metric_of,
    judge_resource,
    judge_score,
    judge_times,
    refuse_score,
    shared_metrics,
)
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, read_evaluated
from admlops.pipeline.run_data import RunData, load_run_data
from admlops.results.record import BatchShare
from admlops.results.run_folder import RunFolder

DEFAULT = "default"
ASKED = "--metric"


@dataclass(frozen=True, kw_only=True)
class Contender:
    """An evaluated run, read once, and what to call it."""

    name: str
    evaluated: EvaluatedRun
    data: RunData


def load_contender(name: str, run: RunFolder) -> Contender:
    """Read a run. Raises RecordError: it is not evaluated."""
    return Contender(name=name, evaluated=read_evaluated(run), data=load_run_data(run))


def battle_runs(first: RunFolder, second: RunFolder, *, metric: str | None = None) -> Battle:
    """Put two evaluated runs against each other; they are called by their models, or by run if both are of one model.

    Args:
        metric: the primary metric, `AP50` or `car_detection.car-iou0.5/AP50`; None for the first headline that both
            have.

    Raises:
        RecordError: a run is not evaluated.
        UsageError: neither run has `metric`.
    """
    runs = (first, second)
    models = {run.header.model for run in runs}
    a, b = (load_contender(run.header.model if len(models) == 2 else run.path.name, run) for run in runs)
    choose_metric((a.evaluated, b.evaluated), metric)  # says which ones there are
    return battle(a, b, metric=metric)


def battle_all(contenders: Sequence[Contender], *, metric: str | None = None) -> list[Battle]:
    """Put every pair against each other."""
    return [battle(a, b, metric=metric) for a, b in combinations(contenders, 2)]


def battle(a: Contender, b: Contender, *, metric: str | None = None) -> Battle:
    """Put two against each other; they are not comparable if neither has the metric."""
    names, runs = (a.name, b.name), (a.evaluated, b.evaluated)
    try:
        protocol, name = choose_metric(runs, metric)
        shared = judge_score(names, runs, protocol, name) if name else None
        primary = shared or refuse_score(_no_protocol_in_common(names, runs))
    except UsageError as error:
        primary = refuse_score(error.message)
    return Battle(
        models=names,
        runs=(runs[0].name, runs[1].name),
        named=DEFAULT if metric is None else ASKED,
        primary=primary,
        further=_judge_resources(names, (a.data, b.data)),
    )


def check_metric(asked: str | None) -> None:
    """Refuse a primary metric that no evaluation has, before anything runs. Raises UsageError."""
    if asked is None:
        return
    protocol, _, name = asked.rpartition("/")
    known = [entry for entry in EVALUATIONS.values() if not protocol or find_evaluation(protocol) is entry]
    if not any(metric.covers(name) for entry in known for metric in entry.metrics):
        headlines = [
            f"{entry.protocol}/{one}" for entry in EVALUATIONS.values() for one in headlines_of(entry.protocol)
        ]
        raise UsageError(
            f"--metric {asked}: no evaluation has a metric of that name",
            hint=f"choose one, such as {', '.join(headlines)}",
        )


def choose_metric(runs: tuple[EvaluatedRun, EvaluatedRun], asked: str | None) -> tuple[str, str]:
    """Return protocol and name of the primary metric; both are empty where the runs share no protocol.

    By default it is the first headline that both runs have, in the order of the registered evaluations.

    Raises:
        UsageError: neither run has the metric that was asked for.
    """
    if asked is not None:
        protocol, _, name = asked.rpartition("/")
        candidates = [(protocol, name)] if protocol else _protocols_of(runs, name)
        shared = [own for own in candidates if all(find_metric_of(run, *own) for run in runs)]
        either = [own for own in candidates if any(find_metric_of(run, *own) for run in runs)]
        if not either:
            names = dict.fromkeys([*shared_metrics(*runs), *shared_metrics(runs[0], runs[0])])
            raise UsageError(
                f"neither {runs[0].name} nor {runs[1].name} has a metric {asked!r}",
                hint=f"choose one of: {', '.join(names) or 'none, for they share no metric'}",
            )
        return (shared or either)[0]
    for protocol in (entry.protocol for entry in EVALUATIONS.values()):
        for name in headlines_of(protocol):
            if all(find_metric_of(run, protocol, name) for run in runs):
                return protocol, name
    return "", ""


def _protocols_of(runs: tuple[EvaluatedRun, EvaluatedRun], name: str) -> list[tuple[str, str]]:
    """List the protocols that have a metric of that name, in the order of the registry."""
    order = [entry.protocol for entry in EVALUATIONS.values()]
    found = {_base(one.protocol) for run in runs for one in run.metrics if one.name == name}
    return [
        (one, name)
        for one in sorted(found, key=lambda one: (one not in order, order.index(one) if one in order else 0))
    ]


def _base(protocol: str) -> str:
    """Return a protocol without the digest of its ground truth."""
    known = find_evaluation(protocol)
    plain = protocol.partition("@")[0]
    return known.protocol if known is not None and plain == known.protocol else plain


def _no_protocol_in_common(names: tuple[str, str], runs: tuple[EvaluatedRun, EvaluatedRun]) -> str:
    listed = [", ".join(dict.fromkeys(_base(one.protocol) for one in run.metrics)) or "none" for run in runs]
    return f"no protocol in common: {names[0]} has {listed[0]}; {names[1]} has {listed[1]}"


def _judge_resources(names: tuple[str, str], data: tuple[RunData, RunData]) -> tuple[Judgement, ...]:
    conditions = [_conditions(run) for run in data]
    energy = [_energy_side(name, run, own) for name, run, own in zip(names, data, conditions, strict=True)]
    sides = [Side(name=name, value=None, conditions=own) for name, own in zip(names, conditions, strict=True)]
    return (
        judge_times(sides[0], sides[1], _pair_times(*data), refusal=_why_shared(names, data)),
        _judge_memory(names, data, conditions),
        judge_resource("energy", "energy, net of idle", "J/sample", energy[0], energy[1]),
    )


def _conditions(run: RunData) -> dict[str, str | None]:
    """Return what decides whether two runs' times and energies compare."""
    assert run.header is not None
    settings = run.header.settings
    precision = None if run.latency is None else run.latency.precision
    if precision is None and run.header.device_kind == "cpu":
        precision = f"{settings.get('precision', 'authors')} on the CPU"
    device = run.header.device.name if run.header.device else run.header.gpu
    return {
        "device": str(device or run.worker.get("device_name") or "") or None,
        "machine": run.header.provenance.host if run.header.device_kind == "cpu" else "any",
        "precision": precision,
        "batch": str(max((meta.batch.size for meta in run.samples if isinstance(meta.batch, BatchShare)), default=1)),
        "workers": str(run.header.options.get("workers", 1)),
    }


def _why_shared(names: tuple[str, str], data: tuple[RunData, RunData]) -> str:
    """Say which of the two was measured on a shared device, and so has no latency; empty where neither was."""
    shared = [(name, run.header.shared) for name, run in zip(names, data, strict=True) if run.header is not None]
    return "; ".join(f"{name}'s times are shared ones, measured {how}" for name, how in shared if how)


def _pair_times(a: RunData, b: RunData) -> list[tuple[float, float]]:
    """Return the times of the model call [s] of the samples that both timed, without the first of each scene."""
    theirs = {meta.sample_token: meta.inference_time for meta in b.samples}
    found = []
    for meta in a.samples:
        other = theirs.get(meta.sample_token)
        if meta.index_in_scene > 0 and meta.inference_time is not None and other is not None:
            found.append((meta.inference_time, other))
    return found


def _judge_memory(
    names: tuple[str, str], data: tuple[RunData, RunData], conditions: Sequence[Mapping[str, str | None]]
) -> Judgement:
    """Judge the allocator's peak where both ran on a GPU, else the workers' peak memory."""
    on_gpu = all(run.header is not None and run.header.device_kind == "cuda" for run in data)
    peaks = []
    for run in data:
        gpu = [meta.gpu_memory_used for meta in run.samples if meta.gpu_memory_used is not None]
        host = [reading.worker_memory_mb for reading in run.telemetry if reading.worker_memory_mb]
        peaks.append(max(gpu if on_gpu else host, default=None))
    sides = [
        Side(name=name, value=peak, conditions=own) for name, peak, own in zip(names, peaks, conditions, strict=True)
    ]
    return judge_resource("memory", "peak GPU memory" if on_gpu else "peak worker memory", "MB", sides[0], sides[1])


def _energy_side(name: str, run: RunData, conditions: Mapping[str, str | None]) -> Side:
    energy: Mapping[str, Any] = (run.metrics or {}).get("energy") or {}
    value = energy.get("j_per_sample")
    why_not = str(energy.get("reason") or "no energy was measured")
    own = conditions if value is None else {**conditions, "way of measuring": f"{energy['method']}, {energy['basis']}"}
    return Side(name=name, value=value, conditions=own, why_not=why_not)


def spell_battle(battle: Battle) -> str:
    """The outcome in a sentence: `NanoDet wins: …`, `tie: …`."""
    head = f"{battle.winner} wins" if battle.verdict == "winner" else battle.verdict
    return f"{head}: {battle.primary.reason}"
