"""Put models side by side: check everything, run what is missing, evaluate, rank only what is comparable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any, Literal

from admlops.catalog import Model, load_model
from admlops.catalog.model import Claim
from admlops.catalog.protocols import headlines_of
from admlops.core.errors import AdmlopsError, StoppedError
from admlops.core.paths import Layout
from admlops.core.storage import require_writable, write_atomically
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, compare_evaluated, read_evaluated
from admlops.evaluation.statistics.ranking import rankings
from admlops.execution.scene_job import Summary
from admlops.health.machine import describe_machine
from admlops.pipeline.comparison_data import open_for, request_on
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.run import OnProgress, RunPlan, check_request, prepare, run_plan
from admlops.pipeline.run_data import RunData, load_run_data, missing_model
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import select
from admlops.results.data_set import open_run_data
from admlops.results.header import find_difference
from admlops.results.record import Failure
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

SUMMARY_SCHEMA = 1
SUMMARY_FILE = "comparison_summary.json"
RANDOM_WEIGHTS = "random:0"

ShowProgress = Callable[[], AbstractContextManager[OnProgress]]
Outcome = Literal["complete", "failed", "cancelled", "running", "not set up", "not for"]
"""What became of a model; all but `complete` have a reason. `not for`: the data set is of a kind it does not read."""


@dataclass(frozen=True, kw_only=True)
class Shortcoming:
    """Why a complete run does not show its model as it is to be judged, and what to do about it."""

    reason: str
    hint: str = ""

    def __str__(self) -> str:
        return " → ".join(part for part in (self.reason, self.hint) if part)


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row of a comparison: a model that ran, the reason why it did not, or a submission, which has no model."""

    model: Model | None
    outcome: Outcome
    reason: str = ""
    hint: str = ""
    run: RunFolder | None = None
    metrics: Mapping[str, Any] | None = None
    shortcomings: tuple[Shortcoming, ...] = ()

    @property
    def name(self) -> str:
        """The model's name; of a submission the run's, because two may be of one model."""
        if self.model is not None:
            return self.model.name
        return "" if self.run is None else self.run.header.run

    @property
    def claims(self) -> Sequence[Claim]:
        """What the model's authors published."""
        return () if self.model is None else self.model.published

    @property
    def failed(self) -> bool:
        """Tell whether the model was set up for this data and yet gave no complete, evaluated run."""
        return self.metrics is None and self.outcome not in ("not set up", "not for")

    @property
    def state(self) -> str:
        """`ready`; `degraded`: random weights, failed samples, or CPU times; else what became of it."""
        if self.metrics is not None:
            return "degraded" if self.shortcomings else "ready"
        return f"not for {self.reason.partition(':')[0]}" if self.outcome == "not for" else self.outcome

    @property
    def status(self) -> str:
        """Return what became of the model and why, in one line."""
        if self.outcome == "not for":
            return f"not for {self.reason}"
        return f"{self.outcome}: {self.reason}" if self.reason else self.outcome

    @property
    def why(self) -> str:
        """Return what keeps the model from being ready, and what to do; empty for one that is."""
        if self.metrics is not None:
            return "; ".join(str(one) for one in self.shortcomings)
        return " → ".join(part for part in (self.reason, self.hint) if part)

    @property
    def judged(self) -> RunFolder | None:
        """The evaluated run, if its scores say how good the model is: random weights' do not."""
        return None if self.run is None or self.metrics is None or self.run.header.random_weights else self.run


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison. `data` are the data sets that its runs were made on, the usual one first."""

    rows: tuple[Compared, ...]
    data: tuple[Dataset, ...]
    summary: Mapping[str, Any]
    summary_path: Path

    def run_data(self) -> list[RunData]:
        """The rows as a report wants them."""
        return [_row_data(row) for row in self.rows]


@dataclass(frozen=True, kw_only=True)
class _Planned:
    """A model that can run, looked up and checked."""

    model: Model
    data: Dataset
    request: RunRequest
    plan: RunPlan


def compare_models(
    layout: Layout,
    names: Sequence[str],
    request: RunRequest,
    *,
    target: Path,
    fresh: bool,
    say: Say,
    show_progress: ShowProgress,
    random_weights: bool = False,
    also: Path | None = None,
    submissions: Sequence[RunFolder] = (),
) -> Comparison:
    """Compare models on the samples that `request` selects, and write `comparison_summary.json` into `target`.

    Every name, the target and what each model needs are checked before the first model runs. Unless `fresh`, a run of
    the same model, pins, samples and settings is used again: a complete one as it is, with its failed samples done
    again; one that was stopped goes on. A model that is not set up, or that fails, gets its row and its reason; the
    others go on.

    Args:
        request: its `model` is replaced by each of `names`; a name that comes twice counts once.
        random_weights: a model that lacks only its weights runs with random ones. Such a row is `degraded`, and its
            scores are ranked with no others.
        also: a second data set, for models that do not read the first.
        submissions: runs of results files made elsewhere, which are evaluated again and stand beside the models; what
            is of another protocol or of other samples is ranked apart.

    Raises:
        AdmlopsError: a name, the data set, an option or the target is wrong; nothing has run then.
        StoppedError: the comparison was cancelled.
    """
    models = [load_model(layout, name) for name in dict.fromkeys(names)]
    data = open_for(models, request, also)
    require_writable(target)
    refuse_impossible(models, request, data[0])
    there = [(run, open_run_data(run.header.data)) for run in submissions]
    checked = [_check(layout, model, data, request, random_weights, say) for model in models]
    rows = [
        one if isinstance(one, Compared) else _compare_one(layout, one, fresh, say, show_progress) for one in checked
    ]
    rows += [_compare_submission(layout, run, own, say) for run, own in there]
    summary = _summarize(rows, data[0])
    write_atomically(target / SUMMARY_FILE, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
    return Comparison(rows=tuple(rows), data=tuple(data), summary=summary, summary_path=target / SUMMARY_FILE)


def refuse_impossible(models: Sequence[Model], request: RunRequest, data: Dataset | None) -> None:
    """Refuse what no model can have, and samples that the data set does not have, before anything is made or run.

    Args:
        data: the data set, if there is one yet.

    Raises:
        AdmlopsError: the first model's reason.
    """
    machine = describe_machine()
    refusals: list[AdmlopsError] = []
    for model in models:
        try:
            check_request(model, replace(request, model=model.name), machine, say=lambda _: None)
        except AdmlopsError as error:
            refusals.append(error)
    if refusals and len(refusals) == len(models):
        raise refusals[0]
    if data is not None and any(data.kind in model.reads for model in models):
        select(data, request.selection)


def _check(
    layout: Layout, model: Model, data: Sequence[Dataset], request: RunRequest, random_weights: bool, say: Say
) -> _Planned | Compared:
    """Prepare a model's run, or say why there is none."""
    own = next((one for one in data if one.kind in model.reads), None)
    if own is None:
        reason = f"{data[0].kind}: it reads {' or '.join(model.reads)}"
        return Compared(model=model, outcome="not for", reason=reason, hint="pass its data set with --also DIR")
    asked = request_on(own, data[0], request_for(layout, model, request, random_weights))
    if model.traits.needs_setup:
        wants_weights = asked.checkpoint is None and asked.weights is None
        readiness = find_readiness(layout, model, asked.variant, weights=wants_weights)
        if not readiness.ready:
            return Compared(model=model, outcome="not set up", reason=readiness.reason, hint=readiness.hint)
    try:
        plan = prepare(layout, asked, say=say, model=model, data=own)
    except AdmlopsError as error:
        say(f"{model.name}: {error}")
        return Compared(model=model, outcome="failed", reason=error.message, hint=error.hint)
    return _Planned(model=model, data=own, request=asked, plan=plan)


def request_for(layout: Layout, model: Model, request: RunRequest, random_weights: bool) -> RunRequest:
    """The request for one model; with random weights where these alone are missing, and that is allowed."""
    own = replace(request, model=model.name)
    if not random_weights or not model.traits.needs_weights or request.checkpoint or request.weights:
        return own
    lacks = find_readiness(layout, model, request.variant).lacks
    return replace(own, weights=RANDOM_WEIGHTS) if lacks == "weights" else own


def _compare_one(layout: Layout, one: _Planned, fresh: bool, say: Say, show_progress: ShowProgress) -> Compared:
    model = one.model
    try:
        run, summary = _run(layout, one, fresh, say, show_progress)
        if summary is not None and summary.stopped_by is not None:
            failure = summary.stopped_by
            reason = f"{failure.kind}: {failure.summary}"
            return Compared(model=model, outcome=summary.state, reason=reason, hint=failure.hint, run=run)
        with run.lock():
            metrics = evaluate_run(run, one.data, layout=layout, say=say)
            run.write_manifest()
    except StoppedError:
        raise
    except AdmlopsError as error:
        say(f"{model.name}: {error}")
        return Compared(model=model, outcome="failed", reason=error.message, hint=error.hint)
    shortcomings = tuple(find_shortcomings(model, run, metrics))
    return Compared(model=model, outcome="complete", run=run, metrics=metrics, shortcomings=shortcomings)


def _compare_submission(layout: Layout, run: RunFolder, data: Dataset, say: Say) -> Compared:
    try:
        with run.lock():
            metrics = evaluate_run(run, data, layout=layout, say=say)
            run.write_manifest()
    except AdmlopsError as error:
        say(f"{run.header.run}: {error}")
        return Compared(model=None, outcome="failed", reason=error.message, hint=error.hint, run=run)
    return Compared(model=None, outcome="complete", run=run, metrics=metrics)


def _run(
    layout: Layout, one: _Planned, fresh: bool, say: Say, show_progress: ShowProgress
) -> tuple[RunFolder, Summary | None]:
    """The run to evaluate, and how it went if something was run now.

    Raises:
        StoppedError: it was cancelled: whoever presses Ctrl-C means the whole comparison.
    """
    earlier = None if fresh else _find_run(layout, one.plan)
    plan, request = one.plan, one.request
    if earlier is not None:
        name = earlier.header.run
        failed = earlier.count_statuses()["failed"]
        if earlier.header.state == "complete" and not failed:
            say(f"{one.model.name}: using the finished run {name}")
            return earlier, None
        again = f"doing {failed} failed samples of the run {name} again" if failed else f"going on with the run {name}"
        say(f"{one.model.name}: {again}")
        request = replace(request, name=name, resume=True, retry_failed=bool(failed))
        plan = plan.renamed(name)
    with show_progress() as on_progress:
        run, summary = run_plan(layout, plan, request, say=say, on_progress=on_progress)
    if summary.state == "cancelled":
        repeat = "repeat the command without --fresh" if fresh else "repeat the command"
        raise StoppedError(
            f"the comparison was stopped while {one.model.name} ran ({run.header.run})",
            hint=f"{repeat}: finished runs are used again, and this one goes on",
        )
    return run, summary


def find_shortcomings(model: Model, run: RunFolder, metrics: Mapping[str, Any]) -> Iterator[Shortcoming]:
    """Return what keeps a complete run from showing the model as it is to be judged."""
    if run.header.random_weights is not None:
        yield Shortcoming(
            reason="random weights, so its scores mean nothing", hint=f"admlops checkpoints fetch {model.name}"
        )
    failures = Counter(one.metadata.failure.kind for one in run.records() if one.metadata.failure)
    if failures:
        classes = ", ".join(f"{count} {kind}" for kind, count in failures.items())
        yield Shortcoming(
            reason=f"{failures.total()} of {metrics['samples']} samples failed: {classes}",
            hint=f"admlops doctor {run.header.run}",
        )
    if model.traits.made_for_gpu and run.header.settings.get("device") == "cpu":
        yield Shortcoming(reason="on the CPU, so its times mean nothing")


def _find_run(layout: Layout, plan: RunPlan) -> RunFolder | None:
    """The newest run that this one would repeat record for record, a complete one before one that was stopped."""
    same = [
        run
        for run in list_runs(layout)[0]
        if run.header.data.root == plan.header.data.root and find_difference(run.header, plan.header) is None
    ]
    complete = [run for run in same if run.header.state == "complete"]
    chosen = complete or same
    return chosen[-1] if chosen else None


def _row_data(row: Compared) -> RunData:
    if row.run is None:
        return missing_model(row.name, status=row.state, hint=f"{row.reason}. Next: {row.hint}", claims=row.claims)
    return load_run_data(row.run, model=row.model)


def _summarize(rows: Sequence[Compared], data: Dataset) -> dict[str, Any]:
    measured: dict[str, list[Metric]] = {
        row.name: metrics_of(row.metrics) for row in rows if row.judged is not None and row.metrics is not None
    }
    return {
        "schema": SUMMARY_SCHEMA,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "data": {"root": str(data.root), "version": data.version, "synthetic": data.is_synthetic},
        "models": [_summarize_row(row) for row in rows],
        "rankings": [asdict(ranking) for ranking in rankings(measured)],
        "paired": _compare_pairs(rows),
    }


def _compare_pairs(rows: Sequence[Compared]) -> list[dict[str, Any]]:
    """The headlines of every two models that share a protocol over the same samples, b - a."""
    runs = [(row.name, read_evaluated(row.judged)) for row in rows if row.judged is not None]
    pairs = []
    for (first, a), (second, b) in combinations(runs, 2):
        if _shares(a, b):
            pairs += [
                {"models": [first, second], **one.to_json()}
                for one in compare_evaluated(a, b)
                if one.metric in headlines_of(one.protocol)
            ]
    return pairs


def _shares(a: EvaluatedRun, b: EvaluatedRun) -> bool:
    keys = [{metric.key for metric in run.metrics if metric.name in headlines_of(metric.protocol)} for run in (a, b)]
    same_samples = {metric.dataset for metric in a.metrics} == {metric.dataset for metric in b.metrics}
    return same_samples and bool(keys[0] & keys[1])


def _summarize_row(row: Compared) -> dict[str, Any]:
    published = [claim.model_dump(exclude_none=True) for claim in row.claims]
    summary: dict[str, Any] = {
        "model": row.name,
        "state": row.state,
        "status": row.status,
        "why": row.why,
        "hint": row.hint,
        "published": published,
    }
    if row.run is None:
        return summary
    loaded = load_run_data(row.run)
    failures = Counter(meta.failure.kind for meta in loaded.samples if isinstance(meta.failure, Failure))
    gpu_mb = [meta.gpu_memory_used for meta in loaded.samples if meta.gpu_memory_used is not None]
    host_mb = [reading.worker_memory_mb for reading in loaded.telemetry if reading.worker_memory_mb is not None]
    summary |= {
        "run": row.run.header.run,
        "variant": row.run.header.variant,
        "random_weights": row.run.header.random_weights,
        "precision": None if loaded.latency is None else loaded.latency.precision,
        "samples": len(loaded.samples),
        "samples_sha256": row.run.header.data.samples_sha256,
        "metrics": [] if row.metrics is None else row.metrics["metrics"],
        "latency": None if loaded.latency is None else loaded.latency.to_json(),
        "memory": {
            "gpu_peak_mb": max(gpu_mb, default=None),
            "worker_peak_mb": max(host_mb, default=None),
        },
        "energy_j": loaded.energy_j,
        "failures": dict(failures),
    }
    return summary
