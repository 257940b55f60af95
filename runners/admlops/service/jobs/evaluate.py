"""The endpoint `evaluate`: the official metrics of a run that is there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admlops.catalog.registries import EVALUATIONS
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.evaluation.evaluate import evaluate_run
from admlops.results.data_set import open_run_data
from admlops.service.jobs.checks import check_run, find_data
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.jobs.inputs import EvaluateInput
from admlops.service.jobs.output import describe_run, write_run_report
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


def check(layout: Layout, settings: JobSettings, given: EvaluateInput) -> None:
    """Raise AdmlopsError where the input names something that is not there."""
    check_run(layout, given.run)
    known = [entry.protocol for entry in EVALUATIONS.values() if entry.on_request]
    unknown = next((name for name in given.protocols if name not in known), None)
    if unknown is not None:
        raise UsageError(f"no protocol {unknown!r} is evaluated on request", hint=f"use some of: {', '.join(known)}")
    if given.data is not None:
        find_data(settings, given.data)


def work(work: Work, given: EvaluateInput) -> Mapping[str, Any]:
    """Evaluate the run and write its report. Raises AdmlopsError: it cannot be evaluated."""
    layout = work.layout
    run = check_run(layout, given.run)
    data = open_run_data(run.header.data, None if given.data is None else find_data(work.settings, given.data))
    report = None
    with run.lock():
        metrics = evaluate_run(
            run, data, layout=layout, say=work.say, official=given.official, protocols=given.protocols
        )
        run.write_manifest()
        if given.report:
            report = write_run_report(layout, run, data)
    official = {"official": metrics.get("official", []), "official_not_run": metrics.get("official_not_run", [])}
    return {**describe_run(run, metrics), **(official if given.official else {}), "report": report}


EVALUATE = Endpoint(
    id="evaluate", title="Compute the official metrics of a run", shape=EvaluateInput, check=check, work=work
)
