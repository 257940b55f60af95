"""Models side by side: run what is missing, evaluate, rank only what is comparable, write summary and report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations
from pathlib import Path
from typing import Any

from admlops.catalog import READY, Model, load_model, setup_status
from admlops.core.errors import AdmlopsError, RunFailedError
from admlops.core.paths import Layout
from admlops.core.storage import write_atomically
from admlops.core.types import Say
from admlops.datasets.base import DataSet, default_split, open_data
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.metrics import Metric, metrics_of
from admlops.evaluation.statistics.paired_bootstrap import EvaluatedRun, compare_evaluated, read_evaluated
from admlops.evaluation.statistics.ranking import rankings
from admlops.execution.scene_job import Summary
from admlops.pipeline.run import OnProgress, RunRequest, prepare, run_model
from admlops.reports import RunData, load_run_data, missing_model, write_report
from admlops.results.header import find_difference
from admlops.results.record import Failure
from admlops.results.run_folder import RunFolder
from admlops.results.runs import list_runs

SUMMARY_SCHEMA = 1
PAIRED_METRICS = ("mAP", "NDS")
NOT_RUN = ("not set up", "not for ")
RANDOM_WEIGHTS = "random:0"

ShowProgress = Callable[[], AbstractContextManager[OnProgress]]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """One row of a comparison: a model that ran, or the reason why it did not."""

    model: Model
    status: str
    run: RunFolder | None = None
    metrics: Mapping[str, Any] | None = None
    hint: str = ""
    shortcomings: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether the model was set up for this data and yet gave no complete, evaluated run."""
        return self.metrics is None and not self.status.startswith(NOT_RUN)

    @property
    def state(self) -> str:
        """`ready`; `degraded`: it ran, but not as it is to be judged; `failed`; or why it was not run."""
        if self.metrics is not None:
            return "degraded" if self.shortcomings else "ready"
        return self.status.partition(":")[0]

    @property
    def why(self) -> str:
        """What keeps the model from being ready, and what to do; empty for one that is."""
        if self.metrics is not None:
            return "; ".join(self.shortcomings)
        reason = self.status.partition(": ")[2]
        return " → ".join(part for part in (reason, self.hint) if part)

    @property
    def judged(self) -> RunFolder | None:
        """The evaluated run, if its scores say how good the model is: random weights' do not."""
        return None if self.run is None or self.metrics is None or self.run.header.random_weights else self.run


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """A finished comparison: what was compared and the files that say so."""

    rows: tuple[Compared, ...]
    summary: Mapping[str, Any]
    summary_path: Path
    report_path: Path


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
) -> Comparison:
    """Compare models on the samples that `request` selects; its `model` is replaced by each of `names`.

    A complete run of the same model, pins, samples and settings is used again unless `fresh`. A model that is not set
    up, or that fails, gets its row and its reason; the others go on. With `random_weights` a model that lacks only its
    weights runs with random ones: such a row is `degraded`, and its scores are ranked with no others. `also` is a
    second data set, for models that `request.data` is not for.

    Raises:
        AdmlopsError: the data set or an option is wrong, or the summary cannot be written.
    """
    data = open_data(request.data, request.version)
    others = [] if also is None else [open_data(also)]
    rows = []
    for model in (load_model(layout, name) for name in names):
        own = next((one for one in (data, *others) if one.kind == model.dataset), data)
        asked = request_for(layout, model, request, random_weights)
        if own is not data:
            selection = replace(request.selection, split=default_split(own.root), scenes=(), tokens=None)
            asked = replace(asked, data=own.root, version=own.version, selection=selection)
        rows.append(_compare_one(layout, model, own, asked, fresh, say, show_progress))
    summary = _summarize(rows, data)
    summary_path = target / "comparison_summary.json"
    write_atomically(summary_path, json.dumps(summary, indent=1, allow_nan=False).encode() + b"\n")
    report_path = write_report(
        target / "report.html", [_row_data(row) for row in rows], summary, data=data, also=others
    )
    return Comparison(rows=tuple(rows), summary=summary, summary_path=summary_path, report_path=report_path)


def request_for(layout: Layout, model: Model, request: RunRequest, random_weights: bool) -> RunRequest:
    """The request for one model; with random weights where these alone are missing, and that is allowed."""
    own = replace(request, model=model.name)
    if not random_weights or model.source.kind == "embedded" or request.checkpoint or request.weights:
        return own
    lacks_weights = setup_status(layout, model, request.variant) != READY
    lacks_more = setup_status(layout, model, request.variant, weights=False) != READY
    return replace(own, weights=RANDOM_WEIGHTS) if lacks_weights and not lacks_more else own


def _compare_one(
    layout: Layout,
    model: Model,
    data: DataSet,
    request: RunRequest,
    fresh: bool,
    say: Say,
    show_progress: ShowProgress,
) -> Compared:
    if model.dataset != data.kind:
        status = f"not for {data.kind}: it reads {model.dataset}"
        return Compared(model=model, status=status, hint=f"admlops run {model.name} --data DIR")
    wants_weights = request.checkpoint is None and request.weights is None
    status = setup_status(layout, model, request.variant, weights=wants_weights)
    if status != READY and model.source.kind != "embedded":
        return Compared(model=model, status=status, hint=f"make setup-{model.name}")
    try:
        run = None if fresh else _find_run(layout, request, say)
        if run is None:
            run, summary = _run(layout, request, say, show_progress)
            if summary.stopped_by is not None:
                trouble = summary.stopped_by
                status = f"{summary.state}: {trouble.kind}: {trouble.summary}"
                return Compared(model=model, status=status, run=run, hint=trouble.hint)
        else:
            say(f"{model.name}: using the finished run {run.header.run}")
        if run.header.state != "complete":
            return Compared(model=model, status=run.header.state, run=run, hint=f"less {run.logs_path}/worker-0.log")
        with run.lock():
            metrics = evaluate_run(run, data, layout=layout, say=say)
            run.write_manifest()
    except RunFailedError:
        raise
    except AdmlopsError as error:
        say(f"{model.name}: {error}")
        return Compared(model=model, status=f"failed: {error.message}", hint=error.hint)
    shortcomings = tuple(find_shortcomings(model, run, metrics))
    return Compared(model=model, status="complete", run=run, metrics=metrics, shortcomings=shortcomings)


def _run(layout: Layout, request: RunRequest, say: Say, show_progress: ShowProgress) -> tuple[RunFolder, Summary]:
    """A new run. Raises RunFailedError if it was cancelled: whoever presses Ctrl-C means the whole comparison."""
    with show_progress() as on_progress:
        run, summary = run_model(layout, request, say=say, on_progress=on_progress)
    if summary.state == "cancelled":
        raise RunFailedError(
            f"the comparison was stopped while {request.model} ran",
            hint="repeat the command: the runs that are finished are used again",
        )
    return run, summary


def find_shortcomings(model: Model, run: RunFolder, metrics: Mapping[str, Any]) -> Iterator[str]:
    """What keeps a complete run from showing the model as it is to be judged."""
    if run.header.random_weights is not None:
        yield f"random weights, so its scores mean nothing → admlops checkpoints fetch {model.name}"
    failures = Counter(one.metadata.failure.kind for one in run.records() if one.metadata.failure)
    if failures:
        classes = ", ".join(f"{count} {kind}" for kind, count in failures.items())
        yield f"of {metrics['samples']} samples failed: {classes} → admlops doctor {run.header.run}"
    if model.source.kind == "git" and run.header.settings.get("device") == "cpu":
        yield "on the CPU, so its times mean nothing"


def _find_run(layout: Layout, request: RunRequest, say: Say) -> RunFolder | None:
    """The newest complete run that a new one would repeat record for record."""
    wanted = prepare(layout, request, say=say).header
    for run in reversed(list_runs(layout)[0]):
        same_data = run.header.data.root == wanted.data.root
        if run.header.state == "complete" and same_data and find_difference(run.header, wanted) is None:
            return run
    return None


def _row_data(row: Compared) -> RunData:
    if row.run is None:
        status, _, reason = row.status.partition(": ")
        return missing_model(
            row.model.name, status=status, hint=f"{reason}. Next: {row.hint}", claims=row.model.published
        )
    return load_run_data(row.run, model=row.model)


def _summarize(rows: Sequence[Compared], data: DataSet) -> dict[str, Any]:
    measured: dict[str, list[Metric]] = {
        row.model.name: metrics_of(row.metrics) for row in rows if row.judged is not None and row.metrics is not None
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
    """mAP and NDS of every two models that share a protocol over the same samples, b - a."""
    runs = [read_evaluated(row.judged) for row in rows if row.judged is not None]
    pairs = []
    for a, b in combinations(runs, 2):
        if _shares(a, b):
            pairs += [
                {"models": [a.model, b.model], **one.to_json()}
                for one in compare_evaluated(a, b)
                if one.metric in PAIRED_METRICS
            ]
    return pairs


def _shares(a: EvaluatedRun, b: EvaluatedRun) -> bool:
    keys = [{metric.key for metric in run.metrics if metric.name in PAIRED_METRICS} for run in (a, b)]
    same_samples = {metric.dataset for metric in a.metrics} == {metric.dataset for metric in b.metrics}
    return same_samples and bool(keys[0] & keys[1])


def _summarize_row(row: Compared) -> dict[str, Any]:
    published = [claim.model_dump(exclude_none=True) for claim in row.model.published]
    summary: dict[str, Any] = {
        "model": row.model.name,
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
