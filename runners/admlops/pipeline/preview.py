"""What a run would do, from the same checks that a run begins with; nothing is built, indexed or written."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from admlops.catalog import Model, load_model
from admlops.catalog.registries import RUNTIMES
from admlops.core.counting import count_of
from admlops.core.errors import AdmlopsError, EnvError, StorageError, UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.types import Planned, Say
from admlops.datasets.base import Dataset, HasContext
from admlops.deployment.calibration import require_apart
from admlops.environments import find_model
from admlops.health.machine import describe_machine
from admlops.pipeline.compare import SUMMARY_FILE, Entrant, find_entrants, request_for
from admlops.pipeline.comparison_data import open_for, request_on
from admlops.pipeline.options import check_config, check_graphs, check_options, check_precision
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.requested_data import check_data_kind, open_requested
from admlops.pipeline.run import check_executes, check_set_up
from admlops.pipeline.run_engine import find_engine
from admlops.pipeline.run_job import choose_executor, name_devices
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import choose_batch
from admlops.pipeline.selection import select
from admlops.results.run_folder import RunFolder
from admlops.results.runs import find_run


def preview_run(layout: Layout, request: RunRequest, *, say: Say, data: Dataset | None = None) -> list[Planned]:
    """Say what `run_model` would do with a request.

    Raises:
        AdmlopsError: what the run itself would refuse before it begins; an own file of weights is not inspected.
    """
    model = load_model(layout, request.model)
    RUNTIMES.get(request.runtime or model.runtime)
    check_config(model, config=request.config, checkpoint=request.checkpoint)
    executor, devices = choose_executor(request, describe_machine(), say=say)
    data = data or open_requested(model, request)
    check_data_kind(model, data, request)
    check_set_up(layout, model, request.variant)
    scenes = select(data, request.selection, temporal=model.temporal)
    check_options(model, request.model_options)
    check_precision(model, request.precision, device=devices[0].kind)
    check_graphs(model, request, device=devices[0].kind)
    choose_batch(model, request, say=say)
    check_executes(model, request)
    engine = find_engine(layout, model, request, say=say)
    if engine is None:
        check_weights(layout, model, request)
    else:
        require_apart(engine.manifest, [token for scene in scenes for token in scene.samples])
    count = sum(len(scene.samples) for scene in scenes)
    steps = [*_preparations(layout, model, request, data)]
    chosen = f"{count_of(count, 'sample')} of {count_of(len(scenes), 'scene')}"
    detail = f"{chosen} of {data.root}, on {name_devices(executor)}"
    return [*steps, *_run_steps(layout, model, request, detail)]


def preview_comparison(
    layout: Layout,
    names: Sequence[str],
    request: RunRequest,
    *,
    target: Path,
    fresh: bool,
    random_weights: bool,
    also: Path | None,
) -> list[Planned]:
    """Say what `compare_models` would do: a run for each model that is set up, unless a finished one fits."""
    entrants = find_entrants(layout, names, request)
    roots = open_for([one.model for one in entrants], request, also)
    steps: list[Planned] = []
    for one in entrants:
        model = one.model
        own = next((root for root in roots if root.kind in model.reads), None)
        if own is None:
            steps.append(Planned(action="leave out", target=one.label, detail=f"it reads {' or '.join(model.reads)}"))
            continue
        asked = request_on(own, roots[0], request_for(layout, model, one.asked(request), random_weights))
        try:
            planned = [_for_entrant(step, one) for step in preview_run(layout, asked, say=lambda _: None, data=own)]
            steps += planned if fresh else [_unless_it_is_there(step) for step in planned]
        except AdmlopsError as error:
            steps.append(Planned(action="leave out", target=one.label, detail=error.message))
    return [*steps, *(Planned(action="write", target=str(target / name)) for name in (SUMMARY_FILE, "report.html"))]


def _for_entrant(step: Planned, one: Entrant) -> Planned:
    """Return a step of a run that says which contender it is of: one model may take part by several engines."""
    return replace(step, target=one.label) if step.action == "run" else step


def _unless_it_is_there(step: Planned) -> Planned:
    """Add to the step of a run that a finished one of the same samples and settings would take its place."""
    if step.action != "run":
        return step
    return replace(step, detail=f"{step.detail}; unless a finished run of these is there")


def _preparations(layout: Layout, model: Model, request: RunRequest, data: Dataset) -> Iterator[Planned]:
    if model.traits.needs_context and isinstance(data, HasContext) and not data.has_context:
        yield Planned(action="index", target=str(data.root), detail=f"{data.version}: {model.name} looks back")
    if find_model(layout, model, request.variant) is None:
        variant = request.variant or model.default_variant
        yield Planned(action="build", target=f"the environment {model.name}-{variant}")


def _run_steps(layout: Layout, model: Model, request: RunRequest, detail: str) -> Iterator[Planned]:
    if request.resume or request.retry_failed:
        run = find_run(layout, str(request.name))
        failed = run.count_statuses()["failed"]
        done = len(run.complete_scenes())
        state = f"{done} of {len(run.header.scenes)} scenes are whole, {count_of(failed, 'sample')} failed"
        verb = "do the failed samples again of" if request.retry_failed else "go on with"
        yield Planned(action=verb, target=str(run.path), detail=state)
        return
    path = layout.runs / (request.name or f"{model.name}-…")
    if request.name is not None and (path / "run.json").exists():
        hint = f"{RunFolder.open(path).header.resume_command}   # or choose another --run NAME"
        raise StorageError(f"{path} already holds a run", hint=hint)
    yield Planned(action="run", target=model.name, detail=detail)
    yield Planned(action="write", target=str(path))


def check_weights(layout: Layout, model: Model, request: RunRequest) -> None:
    """Check that the weights of a request are there; a person's own file is not inspected.

    Raises:
        UsageError: `--checkpoint` names neither a file nor weights of the catalogue.
        EnvError: weights of the catalogue are not there, or not as they should be.
    """
    from admlops.checkpoints import find_problem

    chosen = request.checkpoint or model.default_checkpoint
    if request.weights is not None or chosen is None:
        return
    if chosen not in model.checkpoints:
        if not user_path(chosen).is_file():
            raise UsageError(
                f"--checkpoint {chosen} is neither a file nor a name of the catalogue",
                hint=f"admlops checkpoints list {model.name}",
            )
        return
    problem = find_problem(layout, model, chosen)
    if problem is not None:
        readiness = find_readiness(layout, model, request.variant)
        hint = readiness.hint or f"admlops checkpoints fetch {model.name} {chosen}"
        raise EnvError(f"{model.name} {chosen}: {problem}", hint=hint)
