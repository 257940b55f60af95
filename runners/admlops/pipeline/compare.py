"""Put models side by side: check everything, run what is missing, evaluate, rank only what is comparable."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from admlops.catalog import Model, find_known, load_model
from admlops.core.errors import AdmlopsError, StoppedError
from admlops.core.paths import Layout
from admlops.core.storage import require_writable, write_atomically
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.deployment.engines import AT, PRECISIONS, parse_engine, split_checkpoint, split_contender
from admlops.evaluation.energy.carbon import Carbon
from admlops.evaluation.evaluate import evaluate_run
from admlops.health.machine import describe_machine
from admlops.pipeline.battle import check_metric
from admlops.pipeline.compared import Compared, Shortcoming
from admlops.pipeline.comparison_data import open_for, request_on
from admlops.pipeline.comparison_runs import (
    OnRun,
    Planned,
    RunOne,
    ShowProgress,
    run_at_once,
    run_in_turn,
    take_result,
)
from admlops.pipeline.comparison_summary import summarize
from admlops.pipeline.default_data import lacks_weights
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.run import check_request, prepare
from admlops.pipeline.run_data import RunData, load_run_data, missing_model
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.selection import select
from admlops.results.data_set import open_run_data
from admlops.results.header import RunHeader
from admlops.results.index import read_metrics
from admlops.results.run_folder import RunFolder
from admlops.worker.write_precision import INT8

SUMMARY_FILE = "comparison_summary.json"
RANDOM_WEIGHTS = "random:0"


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
class Entrant:
    """One that takes part: a model, and the engine that executes its network, None for PyTorch itself.

    `checkpoint` names other weights than those of the request.
    """

    model: Model
    engine: str | None
    label: str
    checkpoint: str | None = None

    def asked(self, request: RunRequest) -> RunRequest:
        """Return the request for this one."""
        own = replace(request, model=self.model.name, engine=self.engine)
        return own if self.checkpoint is None else replace(own, checkpoint=self.checkpoint)


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
    together: bool = False,
) -> Comparison:
    """Compare models on the samples that `request` selects, and write `comparison_summary.json` into `target`.

    Every name, the target and what each model needs are checked before the first model runs. Unless `fresh`, a run of
    the same model, pins, samples and settings is used again: a complete one as it is, after its failed samples are done
    again; a stopped one goes on. A model that is not set up, or that fails, gets its row and its reason; the others
    go on.

    Args:
        names: models, each alone, with an engine behind an `@`, as in `MapTR@onnx`, or with weights behind a `:`.
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
        together: run as many models at once as have room; the memory limit is then that of all workers together.

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
    own = replace(request, gpu_memory_limit_mb=None, gpu_memory_share=None) if together else request
    checked = [_check(layout, one, data, own, random_weights, say) for one in entrants]
    ready = [one for one in checked if isinstance(one, Planned)]
    run_one: RunOne = partial(run_in_turn, layout, fresh=fresh, say=say, show_progress=show_progress, on_run=on_run)
    if together:
        done = run_at_once(layout, ready, request, fresh, say, show_progress, on_run)
        run_one = partial(take_result, done)
    rows = [_compare_one(layout, one, run_one, say, carbon) if isinstance(one, Planned) else one for one in checked]
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
    """Return what `MapTR`, `MapTR@onnx` and `MapTR:mine` name, each once; without an `@` the request's engine holds.

    A file is called by its name, or by its whole path if another file has that name.

    Raises:
        AdmlopsError: there is no such model, or no such engine.
    """
    found: list[Entrant] = []
    for name in dict.fromkeys(names):
        _, engine = split_contender(name)
        model, checkpoint = split_checkpoint(name)
        label = name if engine is None else f"{model}{AT}{Path(engine).name}"
        label = name if label in {one.label for one in found} else label
        own = None if checkpoint is not None else engine or request.engine
        if own is not None:
            parse_engine(own)
        found.append(Entrant(model=load_model(layout, model), engine=own, label=label, checkpoint=checkpoint))
    return found


def refuse_impossible(entrants: Sequence[Entrant], request: RunRequest, data: Dataset | None) -> None:
    """Refuse what no model supports, and samples that the data set does not have, before anything is made or run.

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
) -> Planned | Compared:
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
    return Planned(model=model, data=own, request=asked, plan=plan, label=label)


def request_for(layout: Layout, model: Model, request: RunRequest, random_weights: bool) -> RunRequest:
    """Return the request for one model; with random weights if only its weights are missing, and that is allowed."""
    own = replace(request, model=model.name)
    if not random_weights or not model.traits.needs_weights or request.checkpoint or request.weights or request.engine:
        return own
    lacks = find_readiness(layout, model, request.variant).lacks
    return replace(own, weights=RANDOM_WEIGHTS) if lacks == "weights" else own


def _compare_one(layout: Layout, one: Planned, run_one: RunOne, say: Say, carbon: Carbon | None) -> Compared:
    model = one.model
    try:
        run, summary = run_one(one)
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
    shortcomings = tuple(find_shortcomings(layout, model, run, metrics))
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
    """Return the rows of existing runs, called by their models if no other row is; `taken` are names of other rows.

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
    shortcomings = () if model is None else tuple(find_shortcomings(layout, model, run, metrics))
    return Compared(model=model, outcome="complete", run=run, metrics=metrics, shortcomings=shortcomings, label=label)


def find_shortcomings(
    layout: Layout, model: Model, run: RunFolder, metrics: Mapping[str, Any]
) -> Iterator[Shortcoming]:
    """Return what keeps a complete run from showing the model as it is to be judged."""
    if run.header.random_weights is not None:
        hint = _say_trained(layout, model, run.header)
        yield Shortcoming(reason="random weights, so its scores mean nothing", hint=hint)
    if run.header.unverified_engine is not None:
        yield Shortcoming(
            reason=f"the engine {run.header.unverified_engine} {run.header.engine_doubt}",
            hint=shlex.join(["admlops", "verify", model.name, "--engine", str(run.header.engine_option)]),
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


def _say_trained(layout: Layout, model: Model, header: RunHeader) -> str:
    """Return the command after which a run like one of random weights has trained ones."""
    name = model.default_checkpoint
    if name is None:
        return f"admlops models show {model.name}   # the catalogue knows no weights of it: run it with --checkpoint"
    export = ""
    if header.engine is not None:
        precision = header.engine.get("precision")
        export = f"admlops export {model.name}"
        export += f" --precision {precision}" if precision in PRECISIONS[1:] else ""
        export += " --calibrate train --data DIR" if precision == INT8 else ""
    if lacks_weights(layout, model):
        return model.weights_command(name) + (f"   # then {export}" if export else "")
    return (
        export or f"admlops compare --models {model.name} --data {shlex.quote(header.data.root)}   # with its weights"
    )


def _row_data(row: Compared) -> RunData:
    if row.run is None:
        return missing_model(row.name, status=row.state, hint=f"{row.reason}. Next: {row.hint}", claims=row.claims)
    return load_run_data(row.run, model=row.model)
