"""The endpoint `compare`: models side by side on the same samples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.pipeline.battle import check_metric
from admlops.pipeline.compare import Comparison, compare_models
from admlops.pipeline.run_watch import OnProgress
from admlops.reports import write_report
from admlops.results.run_folder import RunFolder
from admlops.service.jobs.checks import check_contender, check_run, check_selected, find_data, make_run_request
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.jobs.inputs import CompareInput, Selected
from admlops.service.jobs.outcome import JobFailedError
from admlops.service.jobs.output import describe_metrics, relative
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


def check(layout: Layout, settings: JobSettings, given: CompareInput) -> None:
    """Raise AdmlopsError where the input names something that is not there."""
    check_metric(given.metric)
    models = [check_contender(layout, name, given) for name in given.models]
    check_selected(layout, settings, given, models[:1])
    if given.also is not None:
        find_data(settings, given.also)
    _submissions(layout, given.submissions)


def _submissions(layout: Layout, names: Sequence[str]) -> list[RunFolder]:
    runs = [check_run(layout, name) for name in dict.fromkeys(names)]
    other = next((run.header for run in runs if not run.header.is_submission), None)
    if other is not None:
        raise UsageError(
            f"submissions: {other.run} is a run of the model {other.model}, and of no results file",
            hint=f"name the model among `models`: {other.model}",
        )
    return runs


def work(work: Work, given: CompareInput) -> Mapping[str, Any]:
    """Run what is missing of each model, evaluate, and write the summary and the report.

    Raises:
        AdmlopsError: nothing can be compared.
        JobFailedError: no model ran.
    """
    done = compare(
        work,
        given,
        list(dict.fromkeys(given.models)),
        random_weights=given.random_weights,
        together=given.together,
        metric=given.metric,
        also=None if given.also is None else find_data(work.settings, given.also),
        submissions=_submissions(work.layout, given.submissions),
    )
    return describe(work, done)


def compare(
    work: Work, given: Selected, names: Sequence[str], *, usual: Path | None = None, **options: Any
) -> Comparison:
    """Compare as an input asks; an earlier attempt's finished runs are used, and its stopped one goes on.

    Args:
        usual: the data set's root where the input names none.
        options: of `compare_models`.
    """
    request = make_run_request(work, given, check_contender(work.layout, names[0], given), usual=usual)
    watched: dict[str, Path] = {}

    @contextmanager
    def show_progress() -> Iterator[OnProgress]:
        label, path = next(reversed(watched.items()))
        yield work.watch(path, label=label)

    return compare_models(
        work.layout,
        names,
        request,
        target=target_of(work),
        fresh=False,
        say=work.say,
        show_progress=show_progress,
        on_run=watched.__setitem__,
        **options,
    )


def target_of(work: Work) -> Path:
    """Return the folder of the job's summary and report: the same in every attempt."""
    return work.layout.repository / "comparisons" / work.job.id


def describe(work: Work, done: Comparison) -> dict[str, Any]:
    """Write the page of a comparison and return the job's output.

    Raises:
        JobFailedError: no model ran.
    """
    target = done.summary_path.with_name("report.html")
    page = write_report(target, done.run_data(), done.summary, data=done.data[0], also=done.data[1:])
    if all(row.metrics is None for row in done.rows):
        reasons = "; ".join(f"{row.name}: {row.status}" for row in done.rows)
        raise JobFailedError(f"no model ran: {reasons}", hint=done.rows[0].hint or "see the job's log", kind="no_model")
    for row in done.rows:
        if row.run is not None and row.metrics is not None:
            work.add_scenes(row.run, label=row.name)
    return {
        "runs": [row.run.path.name for row in done.rows if row.run is not None],
        "models": [
            {
                "model": row.name,
                "state": row.state,
                "why": row.why,
                "run": None if row.run is None else row.run.path.name,
                "metrics": describe_metrics(row.metrics),
            }
            for row in done.rows
        ],
        "battles": done.summary["battles"],
        "rankings": done.summary["rankings"],
        "summary": relative(work.layout, done.summary_path),
        "report": relative(work.layout, page),
    }


COMPARE = Endpoint(
    id="compare", title="Put models side by side on the same samples", shape=CompareInput, check=check, work=work
)
