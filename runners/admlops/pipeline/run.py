"""One model over some scenes: select, ensure the environment, execute, leave a run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.catalog import Model, load_model
from admlops.catalog.registries import RUNTIMES
from admlops.catalog.runtimes import TORCH
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasContext, fetch_files
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.deployment.calibration import require_apart
from admlops.deployment.engines import parse_engine
from admlops.environments import Environment, ensure_model, find_model
from admlops.execution.coordinator import execute
from admlops.execution.executor import Executor
from admlops.execution.scene_job import Summary
from admlops.health.devices import ComputeDevice
from admlops.health.energy_estimate import require_estimate
from admlops.health.machine import describe_machine
from admlops.pipeline.artifact_choice import list_plain_variants
from admlops.pipeline.expected_time import find_measured
from admlops.pipeline.options import check_config, check_graphs, check_precision, require_sensor
from admlops.pipeline.prefetching import choose_prefetch
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.requested_data import check_data_kind, open_requested
from admlops.pipeline.run_engine import (
    EngineFile,
    RuntimePackages,
    check_engine,
    find_engine,
    provide_packages,
)
from admlops.pipeline.run_header import make_header
from admlops.pipeline.run_job import RunPlan, choose_executor, make_job, name_devices
from admlops.pipeline.run_request import RunRequest
from admlops.pipeline.run_settings import (
    adapter_settings,
    catalogue_name,
    choose_batch,
    chosen_weights,
    engine_adapter_settings,
    gpu_memory_limit_mb,
)
from admlops.pipeline.run_watch import OnProgress, watch_run
from admlops.pipeline.scene_jobs import list_scene_jobs
from admlops.pipeline.selection import select
from admlops.pipeline.throughput import write_throughput
from admlops.pipeline.tuning import tune
from admlops.results.run_folder import RunFolder
from admlops.worker.network import FILE_NAME

OnOpen = Callable[[RunFolder], None]
"""Called with the folder of a run that is about to begin, in its thread."""


def run_model(layout: Layout, request: RunRequest, *, say: Say, on_progress: OnProgress) -> tuple[RunFolder, Summary]:
    """Run a model and return its run folder, complete or not, and a summary of what happened.

    Raises:
        AdmlopsError: something the user can mend; nothing is lost of a run that had begun.
    """
    plan = prepare(layout, request, say=say)
    if request.throughput:
        plan = tune(layout, plan, request, say=say)
    return run_plan(layout, plan, request, say=say, on_progress=on_progress)


def run_plan(
    layout: Layout,
    plan: RunPlan,
    request: RunRequest,
    *,
    say: Say,
    on_progress: OnProgress,
    on_open: OnOpen = lambda _: None,
) -> tuple[RunFolder, Summary]:
    """Carry out what `prepare` made of the request; see `run_model`. `on_open` gets the folder before it begins."""
    path = layout.runs / plan.header.run
    scenes = tuple(list_scene_jobs(plan.data, plan.scenes))
    goes_on = request.resume or request.retry_failed
    run = RunFolder.resume(path, plan.header) if goes_on else RunFolder.create(path, plan.header)
    run.relocate(plan.header)
    say(f"{plan.header.coverage}, on {name_devices(plan.executor)}")
    measured = None if goes_on else find_measured(layout, plan.header)
    if measured is not None:
        say(measured.say(sum(plan.header.scenes.values()), len(plan.executor.slots())))
    with run.lock():
        if request.on_begin is not None:
            request.on_begin(run.path)
        on_open(run)
        if plan.throughput is not None:
            write_throughput(run.throughput_path, plan.throughput)
        if request.retry_failed:
            _forget_evaluation(run, say=say)
        job = make_job(layout, request, plan, run, scenes)
        with watch_run(layout, run, plan.executor, request, on_progress, say=say) as watch:
            summary = execute(job, executor=plan.executor, on_event=watch, cancel=request.cancel)
        run.write_manifest()
    return run, summary


def _forget_evaluation(run: RunFolder, *, say: Say) -> None:
    """Remove what was computed from the records of samples that are done again now."""
    if not run.count_statuses()["failed"]:
        return
    stale = [path for path in (run.metrics_path, run.resamples_path, run.report_path) if path.exists()]
    for path in stale:
        path.unlink()
    if stale:
        say(f"removed {', '.join(path.name for path in stale)}: they speak of the failed samples; evaluate again")


def prepare(
    layout: Layout, request: RunRequest, *, say: Say, model: Model | None = None, data: Dataset | None = None
) -> RunPlan:
    """Look up and check all that a run needs, before a folder is made. Builds the environment if it must.

    Args:
        model: what the request names, if it is loaded already.
        data: what the request names, if it is open already.

    Raises:
        AdmlopsError: the model, the device, the data, an option or the environment is wrong.
    """
    model = model or load_model(layout, request.model)
    machine = describe_machine()
    runtime = request.runtime or model.runtime
    executor, devices = check_request(model, request, machine, say=say)
    data = data or open_requested(model, request)
    check_data_kind(model, data, request)
    check_set_up(layout, model, request.variant)
    _ensure_context(model, data, say=say)
    fetch_files(data, say)
    scenes = select(data, request.selection, temporal=model.temporal)
    engine = find_engine(layout, model, request, say=say)
    require_apart(None if engine is None else engine.manifest, [token for scene in scenes for token in scene.samples])
    weights = _weights(layout, model, request, engine, say=say)
    require_sensor(model, request.corrupt, weights.settings["config"])
    environment = _environment(layout, model, request, devices[0], say=say)
    settings = {
        "device": devices[0].id,
        **weights.settings,
        "gpu_memory_limit_mb": gpu_memory_limit_mb(request, devices[0]),
    }
    if request.corrupt is not None:
        settings["corrupt"] = request.corrupt.to_json()
    packages = RuntimePackages(versions={})
    if engine is not None:
        runtime = engine.engine.runtime.id
        packages = provide_packages(layout, engine.engine.runtime, environment, device=devices[0].kind, say=say)
        settings["engine"] = {
            **engine.describe(device=devices[0], packages=packages),
            **engine.describe_build(layout, request),
        }
    header = make_header(
        layout,
        model,
        name=request.name,
        variant=request.variant or model.default_variant,
        runtime=runtime,
        environment=environment,
        data=data,
        selection=request.selection,
        scenes=scenes,
        settings=settings,
        checkpoint_sha256=weights.sha256,
        checkpoint_name=weights.name,
        devices=devices,
        machine=machine,
        options=_header_options(model, request, executor, say=say),
    )
    return RunPlan(
        model=model,
        data=data,
        scenes=tuple(scenes),
        environment=environment,
        header=header,
        executor=executor,
        runtime_path=packages.path,
    )


def _header_options(model: Model, request: RunRequest, executor: Executor, *, say: Say) -> dict[str, Any]:
    """Return the options that were asked for and do not change the records."""
    nodes = sorted({slot.node for slot in executor.slots()} - {""})
    return {
        "command": request.command,
        "workers": request.workers,
        "prefetch": choose_prefetch(request, executor.slots(), say=say),
        "limit": request.selection.limit,
        "device": request.device,
        "executor": request.executor,
        **({"nodes": nodes} if nodes else {}),
        **({"detection_2d": model.detection_2d.model_dump()} if model.detection_2d is not None else {}),
    }


@dataclass(frozen=True, kw_only=True)
class _Weights:
    """The weights of a run: what its adapter is told, their sha256, their name in the catalogue."""

    settings: Mapping[str, Any]
    sha256: str | None
    name: str | None


def _weights(layout: Layout, model: Model, request: RunRequest, engine: EngineFile | None, *, say: Say) -> _Weights:
    """Find the weights: a checkpoint's, or those that an exported file holds."""
    if engine is not None:
        manifest = engine.manifest
        return _Weights(
            settings=engine_adapter_settings(layout, model, request, manifest, say=say),
            sha256=None if manifest is None else manifest.source.checkpoint_sha256,
            name=None if manifest is None else manifest.source.checkpoint,
        )
    checkpoint = chosen_weights(layout, model, request, say=say)
    return _Weights(
        settings=adapter_settings(layout, model, request, checkpoint, say=say),
        sha256=None if checkpoint is None else checkpoint.sha256,
        name=catalogue_name(model, request, checkpoint),
    )


def check_request(
    model: Model, request: RunRequest, machine: Mapping[str, Any], *, say: Say
) -> tuple[Executor, tuple[ComputeDevice, ...]]:
    """Check all of a request that needs no data, before anything is made; return executor and devices.

    Raises:
        UsageError: the runtime, the executor, a device or the precision does not exist, or the model cannot have it;
            or the run cannot have graphs.
        CatalogError: the model has no such variant.
    """
    RUNTIMES.get(request.runtime or model.runtime)  # says which ones there are
    if request.estimate_energy:
        require_estimate()
    executor, devices = choose_executor(request, machine, say=say)
    check_config(model, config=request.config, checkpoint=request.checkpoint)
    if request.engine is not None:
        parse_engine(request.engine)
        check_engine(model, request)
    check_precision(model, request.precision, device=devices[0].kind)
    check_graphs(model, request, device=devices[0].kind)
    choose_batch(model, request, say=say)
    check_executes(model, request)
    return executor, devices


def check_executes(model: Model, request: RunRequest) -> None:
    """Refuse a variant without PyTorch where no engine is to execute the network: it runs exported files alone.

    Raises:
        CatalogError: the model has no such variant.
        UsageError: it is such a variant.
    """
    variant = model.choose_variant(request.variant)
    has_network = (request.runtime or model.runtime) == TORCH.id and (model.folder / FILE_NAME).is_file()
    if request.engine is not None or not has_network or variant not in list_plain_variants(model):
        return
    named = "" if request.variant is None else f" --variant {variant}"
    raise UsageError(
        f"{model.name}'s variant {variant} has no PyTorch: it runs exported files alone, and no --engine is named",
        hint=f"admlops run {model.name}{named} --engine onnx",
    )


def _environment(layout: Layout, model: Model, request: RunRequest, device: ComputeDevice, *, say: Say) -> Environment:
    """Return the environment that is ready; else build one for the device of this run."""
    found = find_model(layout, model, request.variant)
    if found is not None:
        return found
    pins = model.variants[request.variant or model.default_variant]
    return ensure_model(layout, model, request.variant, device=device.kind if pins.devices else None, say=say)


def check_set_up(layout: Layout, model: Model, variant: str | None) -> None:
    """Raise EnvError for a model without the set-up that it needs: that takes minutes, so no run does it on the way."""
    if not model.traits.needs_setup:
        return
    readiness = find_readiness(layout, model, variant, weights=False)
    if not readiness.ready:
        raise EnvError(f"{model.name} is {readiness}", hint=readiness.hint)


def _ensure_context(model: Model, data: Dataset, *, say: Say) -> None:
    """Make the index that holds the context of samples, for a model that needs it."""
    if model.traits.needs_context and isinstance(data, HasContext) and not data.has_context:
        build_index(data.root, data.version, say=say)
