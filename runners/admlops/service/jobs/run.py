"""The endpoint `run`: a model over scenes, its metrics and its report."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from admlops.core.paths import Layout
from admlops.evaluation.evaluate import evaluate_run
from admlops.pipeline.options import read_corrupt, require_sensor
from admlops.pipeline.run import prepare, run_plan
from admlops.pipeline.run_job import RunPlan
from admlops.pipeline.run_request import RunRequest
from admlops.results.header import find_difference
from admlops.results.run_folder import RunFolder
from admlops.service.jobs.checks import check_model, check_selected, for_job, make_run_request
from admlops.service.jobs.endpoints import Endpoint
from admlops.service.jobs.inputs import RunInput
from admlops.service.jobs.outcome import require_complete
from admlops.service.jobs.output import describe_run, write_run_report
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work
from admlops.worker.corruptions.fault import Fault


def check(layout: Layout, settings: JobSettings, given: RunInput) -> None:
    """Raise AdmlopsError where the input names something that is not there."""
    model = check_model(
        layout,
        given.model,
        variant=given.variant,
        config=given.config,
        checkpoint=given.checkpoint,
        options=given.options,
        engine=given.engine,
    )
    check_selected(layout, settings, given, [model])
    require_sensor(model, _fault(given), given.config)


def work(work: Work, given: RunInput) -> Mapping[str, Any]:
    """Run the model, or go on with the run of an earlier attempt; evaluate it and write its report.

    Raises:
        AdmlopsError: it cannot be run.
        JobFailedError: the run did not come to its end.
    """
    layout = work.layout
    model = check_model(layout, given.model)
    request = replace(
        for_job(make_run_request(work, given, model), work),
        config=given.config,
        checkpoint=given.checkpoint,
        weights=given.weights,
        engine=given.engine,
        model_options=given.options,
        off_distribution=given.off_distribution,
        stream=given.stream,
        corrupt=_fault(given),
        throughput=given.throughput,
    )
    plan = prepare(layout, request, say=work.say, model=model)
    run = _run(work, plan, request)
    metrics = report = None
    with run.lock():
        if given.evaluate:
            metrics = evaluate_run(run, plan.data, layout=layout, say=work.say, without_truth=True)
            run.write_manifest()
        if given.report:
            report = write_run_report(layout, run, plan.data)
    return {**describe_run(run, metrics), "report": report}


def _fault(given: RunInput) -> Fault | None:
    return None if given.corrupt is None else read_corrupt(given.corrupt, 0)


def _run(work: Work, plan: RunPlan, request: RunRequest) -> RunFolder:
    """Bring the job's run to its end, from wherever an earlier attempt left it."""
    path = work.layout.runs / plan.header.run
    earlier = _find_earlier(work, plan)
    if earlier is not None and find_difference(earlier.header, plan.header) is not None:
        work.say(f"{path.name} cannot go on as it was begun; beginning anew")
        request = replace(request, name=f"{plan.header.run}-{work.job.attempt}")
        plan, earlier = plan.renamed(str(request.name)), None
        path = work.layout.runs / plan.header.run
    if earlier is not None and earlier.header.state == "complete":
        run = earlier
    else:
        request = replace(request, resume=earlier is not None)
        run, summary = run_plan(work.layout, plan, request, say=work.say, on_progress=work.watch(path))
        require_complete(run, summary)
    work.add_scenes(run)
    return run


def _find_earlier(work: Work, plan: RunPlan) -> RunFolder | None:
    """Return the run that an earlier attempt began; what it left before there was a header is removed."""
    path = work.layout.runs / plan.header.run
    if not path.exists():
        return None
    if not (path / "run.json").exists():
        shutil.rmtree(path)
        return None
    run = RunFolder.open(path)
    for folder in (run.records_path, run.logs_path):
        folder.mkdir(exist_ok=True)
    work.say(f"going on with {path.name}, {len(run.complete_scenes())} scenes of which are there")
    return run


RUN = Endpoint(id="run", title="Run a model over scenes, evaluate and report", shape=RunInput, check=check, work=work)
