"""The third and fourth step of a verification: a run in PyTorch and one by the engine, matched and evaluated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from admlops.catalog.protocols import headlines_of
from admlops.core.errors import AdmlopsError, DataError, RecordError, RunFailedError, StoppedError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.deployment.bounds import Bounds
from admlops.deployment.matching import match_runs
from admlops.deployment.verification import DECODED, FAILED_SAMPLES, METRICS, Step, judge_decoded, judge_metrics
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.statistics.paired_bootstrap import compare_evaluated, read_evaluated
from admlops.pipeline.comparison_runs import ShowProgress, find_run_alike
from admlops.pipeline.run import prepare, run_plan
from admlops.pipeline.run_request import RunRequest
from admlops.results.run_folder import RunFolder


@dataclass(frozen=True, kw_only=True)
class Pair:
    """The two runs, over the same samples."""

    reference: RunFolder
    engine: RunFolder


def check_pair(
    layout: Layout,
    requests: tuple[RunRequest, RunRequest],
    bounds: Bounds,
    *,
    data: Dataset,
    say: Say,
    show_progress: ShowProgress,
) -> tuple[Pair, list[Step]]:
    """Run what is missing of PyTorch and the engine, and judge the records and the metrics.

    Raises:
        AdmlopsError: a run cannot begin.
        RunFailedError: PyTorch's own run fails, so there is nothing to compare with.
        StoppedError: it was cancelled.
    """
    pair = Pair(
        reference=_run(layout, requests[0], data, say, show_progress),
        engine=_run(layout, requests[1], data, say, show_progress),
    )
    failures = {
        name: run.count_statuses()["failed"] for name, run in (("PyTorch", pair.reference), ("the engine", pair.engine))
    }
    if failures["PyTorch"]:
        name = pair.reference.header.run
        raise RunFailedError(
            f"{failures['PyTorch']} samples fail in PyTorch itself ({name})", hint=f"admlops doctor {name}"
        )
    if pair.engine.header.state != "complete":
        reason = f"the engine's run ended {pair.engine.header.state}: {_why(pair.engine)}"
        return pair, [Step(name=DECODED, verdict="failed", reason=reason, fault=FAILED_SAMPLES)]
    decoded = judge_decoded(match_runs(pair.reference.records(), pair.engine.records()), failures, bounds)
    if decoded.verdict == "failed":
        return pair, [decoded]
    return pair, [decoded, _judge_metrics(layout, pair, bounds, data, requests[0], say)]


def mark_run(layout: Layout, run: RunFolder, verification: Mapping[str, Any], data: Dataset, *, say: Say) -> None:
    """Say in a run what a verification found of its engine, and evaluate it again, so that no note says otherwise."""
    with run.lock():
        run.mark_engine(verification)
        if run.metrics_path.is_file():
            evaluate_run(run, data, layout=layout, say=lambda _: None)
        run.write_manifest()
    if verification["verified"]:
        say(f"{run.header.run} is a run of a verified engine now")


def _run(layout: Layout, request: RunRequest, data: Dataset, say: Say, show_progress: ShowProgress) -> RunFolder:
    """Return a complete run of the request: one that is there, else a new one."""
    plan = prepare(layout, request, say=say, data=data)
    earlier = find_run_alike(layout, plan)
    if earlier is not None and earlier.header.state == "complete" and not earlier.count_statuses()["failed"]:
        say(f"using the finished run {earlier.header.run}")
        return earlier
    with show_progress() as on_progress:
        run, summary = run_plan(layout, plan, replace(request, name=None), say=say, on_progress=on_progress)
    if summary.state == "cancelled":
        raise StoppedError("the verification was stopped", hint="repeat the command: finished runs are used again")
    if summary.state != "complete" and request.engine is None:
        raise RunFailedError(
            f"PyTorch's own run ended {summary.state} ({run.header.run})", hint=f"admlops doctor {run.header.run}"
        )
    return run


def _why(run: RunFolder) -> str:
    failure = run.first_failure()
    return "see its log" if failure is None else failure.message


def _judge_metrics(layout: Layout, pair: Pair, bounds: Bounds, data: Dataset, reference: RunRequest, say: Say) -> Step:
    """Evaluate both runs and judge their headline metrics, engine less PyTorch."""
    try:
        for run in (pair.reference, pair.engine):
            with run.lock():
                evaluate_run(run, data, layout=layout, say=say)
                run.write_manifest()
        found = compare_evaluated(read_evaluated(pair.reference), read_evaluated(pair.engine))
    except (DataError, RecordError, UsageError) as error:
        return Step(name=METRICS, verdict="not judged", reason=f"nothing to measure by: {error.message}")
    except AdmlopsError as error:
        return Step(name=METRICS, verdict="not judged", reason=error.message)
    headlines: Sequence[dict[str, Any]] = [one.to_json() for one in found if one.metric in headlines_of(one.protocol)]
    why_not = "the weights are random, so the scores say nothing" if reference.weights is not None else None
    return judge_metrics(headlines, bounds, why_not=why_not)
