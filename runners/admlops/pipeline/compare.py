"""Put models side by side: check everything, run what is missing, evaluate, rank only what is comparable."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from admlops.catalog import Model, find_known, load_model
from admlops.core.counting import count_of
from admlops.core.errors import AdmlopsError, StoppedError
from admlops.core.paths import Layout
from admlops.core.storage import require_writable, write_atomically
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.deployment.engines import AT, split_contender
from admlops.evaluation.energy.carbon import Carbon
from admlops.evaluation.evaluate import evaluate_run
from admlops.execution.scene_job import Summary
from admlops.health.machine import describe_machine
from admlops.pipeline.battle import check_metric
from admlops.pipeline.compared import Compared, Shortcoming
from admlops.pipeline.comparison_data import open_for, request_on
from admlops.pipeline.comparison_summary import summarize
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.run import OnProgress, RunPlan, check_request, prepare, run_plan
from admlops.pipeline.run_data import RunData, load_run_data, missing_model
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import select
from admlops.results.data_set import open_run_data
from admlops.results.header import find_difference
from admlops.results.index import read_metrics
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

SUMMARY_FILE = "comparison_summary.json"
RANDOM_WEIGHTS = "random:0"

ShowProgress = Callable[[], AbstractContextManager[OnProgress]]
OnRun = Callable[[str, Path], None]
"""Called before a run with what the comparison calls its model, and the folder it is to have."""


def unwatched(label: str, folder: Path) -> None:
    """Ignore the run."""


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
    label: str


@dataclass(frozen=True, kw_only=True)
class Entrant:
    """One that takes part: a model, and the engine that executes its network, None for PyTorch itself."""

    model: Model
    engine: str | None
    label: str

    def asked(self, request: RunRequest) -> RunRequest:
        """Return the request for this one."""
        return replace(request, model=self.model.name, engine=self.engine)


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
    metric: str | None = None,
    runs: Sequence[RunFolder] = (),
    carbon: Carbon | None = None,
    on_run: OnRun = unwatched,
) -> Comparison:
    """Compare models on the samples that `request` selects, and write `comparison_summary.json` into `target`.

    Every name, the target and what each model needs are checked before the first model runs. Unless `fresh`, a run of
    the same model, pins, samples and settings is used again: a complete one as it is, with its failed samples done
    again; one that was stopped goes on. A model that is not set up, or that fails, gets its row and its reason; the
    others go on.

    Args:
        names: models, each alone or with an engine behind an `@`, as in `MapTR@onnx`.
        request: its `model` is replaced by each of `names`; a name that comes twice counts once.
        random_weights: a model that lacks only its weights runs with random ones. Such a row is `degraded`, and its
            scores are ranked with no others.
        also: a second data set, for models that do not read the first.
        submissions: runs of results files made elsewhere, which are evaluated again and stand beside the models; what
            is of another protocol or of other samples is ranked apart.
        metric: the primary metric of battles; None for the first headline that both of a pair have.
        runs: finished runs that stand beside the models, as they are.
        carbon: where the energy of runs that are evaluated now came from.
        on_run: called before each run that is begun or goes on.

    Raises:
        AdmlopsError: a name, the data set, an option or the target is wrong; nothing has run then.
        StoppedError: the comparison was cancelled.
    """
    check_metric(metric)
    entrants = find_entrants(layout, names, request)
    data = open_for([one.model for one in entrants], request, also)
    require_writable(target)
    refuse_impossible(entrants, request, data[0])
    there = [(run, open_run_data(run.header.data)) for run in submissions]
    checked = [_check(layout, one, data, request, random_weights, say) for one in entrants]
    rows: list[Compared] = []
    for one in checked:
        if isinstance(one, _Planned):
            rows.append(_compare_one(layout, one, fresh, say, show_progress, carbon, on_run))
        else:
            rows.append(one)
    rows += [_compare_submission(layout, run, own, say) for run, own in there]
    rows += take_runs(layout, runs, say, taken=[row.name for row in rows], carbon=carbon)
    return write_comparison(rows, data, target=target, metric=metric)


def write_comparison(
    rows: Sequence[Compared], data: Sequence[Dataset], *, target: Path, metric: str | None
) -> Comparison:
    """Write `comparison_summary.json` about finished rows into `target`; `data` are their data sets."""
    summary = summarize(rows, data[0], metric=metric)
    write_atomically(target / SUMMARY_FILE, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
    return Comparison(rows=tuple(rows), data=tuple(data), summary=summary, summary_path=target / SUMMARY_FILE)


def find_entrants(layout: Layout, names: Sequence[str], request: RunRequest) -> list[Entrant]:
    """Return what `MapTR` and `MapTR@onnx` name, each once; without an `@` the request's engine holds.

    A file is called by its name, by its whole path where another of that name is there.

    Raises:
        AdmlopsError: there is no such model, or no such engine.
    """
    found: list[Entrant] = []
    for name in dict.fromkeys(names):
        model, engine = split_contender(name)
        label = name if engine is None else f"{model}{AT}{Path(engine).name}"
        label = name if label in {one.label for one in found} else label
        found.append(Entrant(model=load_model(layout, model), engine=engine or request.engine, label=label))
    return found


def refuse_impossible(entrants: Sequence[Entrant], request: RunRequest, data: Dataset | None) -> None:
    """Refuse what no model can have, and samples that the data set does not have, before anything is made or run.

    Args:
        data: the data set, if there is one yet.

    Raises:
        AdmlopsError: the first model's reason.
    """
    machine = describe_machine()
    refusals: list[AdmlopsError] = []
    for one in entrants:
        try:
            check_request(one.model, one.asked(request), machine, say=lambda _: None)
        except AdmlopsError as error:
            refusals.append(error)
    if refusals and len(refusals) == len(entrants):
        raise refusals[0]
    if data is not None and any(data.kind in one.model.reads for one in entrants):
        select(data, request.selection)


def _check(
    layout: Layout, one: Entrant, data: Sequence[Dataset], request: RunRequest, random_weights: bool, say: Say
) -> _Planned | Compared:
    """Prepare a model's run, or say why there is none."""
    model, label = one.model, one.label
    request = one.asked(request)
    own = next((one for one in data if one.kind in model.reads), None)
    if own is None:
        reason = f"{data[0].kind}: it reads {' or '.join(model.reads)}"
        hint = "pass its data set with --also DIR"
        return Compared(model=model, outcome="not for", reason=reason, hint=hint, label=label)
    asked = request_on(own, data[0], request_for(layout, model, request, random_weights))
    if model.traits.needs_setup:
        wants_weights = asked.checkpoint is None and asked.weights is None and asked.engine is None
        readiness = find_readiness(layout, model, asked.variant, weights=wants_weights)
        if not readiness.ready:
            return Compared(
                model=model, outcome="not set up", reason=readiness.reason, hint=readiness.hint, label=label
            )
    try:
        plan = prepare(layout, asked, say=say, model=model, data=own)
    except AdmlopsError as error:
        say(f"{label}: {error}")
        return Compared(model=model, outcome="failed", reason=error.message, hint=error.hint, label=label)
    return _Planned(model=model, data=own, request=asked, plan=plan, label=label)


def request_for(layout: Layout, model: Model, request: RunRequest, random_weights: bool) -> RunRequest:
    """The request for one model; with random weights where these alone are missing, and that is allowed."""
    own = replace(request, model=model.name)
    if not random_weights or not model.traits.needs_weights or request.checkpoint or request.weights or request.engine:
        return own
    lacks = find_readiness(layout, model, request.variant).lacks
    return replace(own, weights=RANDOM_WEIGHTS) if lacks == "weights" else own


def _compare_one(
    layout: Layout,
    one: _Planned,
    fresh: bool,
    say: Say,
    show_progress: ShowProgress,
    carbon: Carbon | None,
    on_run: OnRun,
) -> Compared:
    model = one.model
    try:
        run, summary = _run(layout, one, fresh, say, show_progress, on_run)
        if summary is not None and summary.stopped_by is not None:
            failure = summary.stopped_by
            reason = f"{failure.kind}: {failure.summary}"
            return Compared(
                model=model, outcome=summary.state, reason=reason, hint=failure.hint, run=run, label=one.label
            )
        with run.lock():
            metrics = evaluate_run(run, one.data, layout=layout, say=say, carbon=carbon, without_truth=True)
            run.write_manifest()
    except StoppedError:
        raise
    except AdmlopsError as error:
        say(f"{one.label}: {error}")
        return Compared(model=model, outcome="failed", reason=error.message, hint=error.hint, label=one.label)
    shortcomings = tuple(find_shortcomings(model, run, metrics))
    return Compared(
        model=model, outcome="complete", run=run, metrics=metrics, shortcomings=shortcomings, label=one.label
    )


def _compare_submission(layout: Layout, run: RunFolder, data: Dataset, say: Say) -> Compared:
    try:
        with run.lock():
            metrics = evaluate_run(run, data, layout=layout, say=say)
            run.write_manifest()
    except AdmlopsError as error:
        say(f"{run.header.run}: {error}")
        return Compared(model=None, outcome="failed", reason=error.message, hint=error.hint, run=run)
    return Compared(model=None, outcome="complete", run=run, metrics=metrics)


def take_runs(
    layout: Layout,
    runs: Sequence[RunFolder],
    say: Say,
    *,
    taken: Sequence[str] = (),
    carbon: Carbon | None = None,
) -> list[Compared]:
    """Return the rows of runs that are there, called by their models where no other row is; `taken` are names of rows.

    A run that is not evaluated is evaluated now.

    Raises:
        AdmlopsError: it cannot be evaluated.
    """
    named = Counter([*taken, *(run.header.model for run in runs)])
    labels = [run.header.model if named[run.header.model] == 1 else run.path.name for run in runs]
    return [_take_run(layout, run, say, label, carbon) for run, label in zip(runs, labels, strict=True)]


def _take_run(layout: Layout, run: RunFolder, say: Say, label: str, carbon: Carbon | None) -> Compared:
    metrics = read_metrics(run)
    if metrics is None:
        with run.lock():
            metrics = evaluate_run(run, open_run_data(run.header.data), layout=layout, say=say, carbon=carbon)
            run.write_manifest()
    model = None if run.header.is_submission else find_known(layout, run.header.model)
    shortcomings = () if model is None else tuple(find_shortcomings(model, run, metrics))
    return Compared(model=model, outcome="complete", run=run, metrics=metrics, shortcomings=shortcomings, label=label)


def _run(
    layout: Layout, one: _Planned, fresh: bool, say: Say, show_progress: ShowProgress, on_run: OnRun
) -> tuple[RunFolder, Summary | None]:
    """The run to evaluate, and how it went if something was run now.

    Raises:
        StoppedError: it was cancelled: whoever presses Ctrl-C means the whole comparison.
    """
    earlier = None if fresh else find_run_alike(layout, one.plan)
    plan, request = one.plan, one.request
    if earlier is not None:
        name = earlier.header.run
        failed = earlier.count_statuses()["failed"]
        if earlier.header.state == "complete" and not failed:
            say(f"{one.label}: using the finished run {name}")
            return earlier, None
        again = (
            f"doing {count_of(failed, 'failed sample')} of the run {name} again"
            if failed
            else f"going on with the run {name}"
        )
        say(f"{one.label}: {again}")
        request = replace(request, name=name, resume=True, retry_failed=bool(failed))
        plan = plan.renamed(name)
    on_run(one.label, layout.runs / plan.header.run)
    with show_progress() as on_progress:
        run, summary = run_plan(layout, plan, request, say=say, on_progress=on_progress)
    if summary.state == "cancelled":
        repeat = "repeat the command without --fresh" if fresh else "repeat the command"
        raise StoppedError(
            f"the comparison was stopped while {one.label} ran ({run.header.run})",
            hint=f"{repeat}: finished runs are used again, and this one goes on",
        )
    return run, summary


def find_shortcomings(model: Model, run: RunFolder, metrics: Mapping[str, Any]) -> Iterator[Shortcoming]:
    """Return what keeps a complete run from showing the model as it is to be judged."""
    if run.header.random_weights is not None:
        yield Shortcoming(
            reason="random weights, so its scores mean nothing", hint=f"admlops checkpoints fetch {model.name}"
        )
    if run.header.unverified_engine is not None:
        yield Shortcoming(
            reason=f"the engine {run.header.unverified_engine} was not verified on this machine",
            hint=f"admlops verify {model.name} --engine {run.header.engine_option}",
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


def find_run_alike(layout: Layout, plan: RunPlan) -> RunFolder | None:
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
