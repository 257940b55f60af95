"""One model over some scenes: select, ensure the environment, execute, leave a run folder."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from admlops.catalog import Model, load_model
from admlops.catalog.registries import RUNTIMES
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasContext, Scene, open_data
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.environments import Environment, ensure_model, find_model
from admlops.execution.cancel import CancelToken
from admlops.execution.coordinator import execute
from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.execution.executor import Executor, ExecutorOptions
from admlops.execution.executors import EXECUTORS
from admlops.execution.scene_job import Job, RunEvent, SceneJob, Summary
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import ComputeDevice
from admlops.health.machine import TelemetrySampler, describe_machine
from admlops.pipeline.fixes import needed_fixes
from admlops.pipeline.options import check_options, check_precision
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.run_header import make_header
from admlops.pipeline.scene_jobs import DataSetSamples, expect_outputs, list_scene_jobs
from admlops.pipeline.selection import Selection, select
from admlops.results.header import RunHeader
from admlops.results.run_folder import RunFolder
from worker.precision import AUTHORS

if TYPE_CHECKING:
    from admlops.checkpoints import Usable

OnProgress = Callable[[RunEvent, int], None]
"""Called with each event of a run and the run's number of samples."""


RUN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """The user's request. `config` and `checkpoint` are names in the catalogue or paths of files.

    `weights` is `random:SEED` instead of a checkpoint: such a run says how a model runs, and nothing of how good it is.
    `off_distribution` allows data that the model was not made for; its numbers then have a protocol of their own.
    `model_options` are those that its catalogue entry lists. `device` is `auto`, `cpu`, `all` or a list such as
    `cuda:0,cuda:2`; each device gets `workers` workers. A worker may take `gpu_memory_limit_mb` of its GPU's memory, or
    `gpu_memory_share` of it (0 to 1). `retry_failed` does the failed samples of the run called `name` again. `command`
    is the command line, kept with the run for its readers. Setting `cancel` stops the run from any thread.
    `precision` is one of `worker.precision.PRECISIONS`.
    """

    model: str
    data: Path
    version: str | None = None
    selection: Selection = field(default_factory=Selection)
    variant: str | None = None
    device: str = "auto"
    workers: int = 1
    config: str | None = None
    checkpoint: str | None = None
    weights: str | None = None
    model_options: Mapping[str, str] = field(default_factory=dict)
    off_distribution: bool = False
    precision: str = AUTHORS
    gpu_memory_limit_mb: float | None = None
    gpu_memory_share: float | None = None
    executor: str = "local"
    runtime: str | None = None
    deadlines: Deadlines = DEFAULT_DEADLINES
    name: str | None = None
    resume: bool = False
    retry_failed: bool = False
    command: str = ""
    cancel: CancelToken = field(default_factory=CancelToken, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers} leaves no worker", hint="pass --workers 1 or more")
        for option, given in (("--resume", self.resume), ("--retry-failed", self.retry_failed)):
            if given and self.name is None:
                raise UsageError(
                    f"{option} needs the run's name", hint="pass --run NAME; admlops results list shows names"
                )
        if self.name is not None and not RUN_NAME.fullmatch(self.name):
            raise UsageError(
                f"--run {self.name!r} is no name for a folder: letters, digits and . _ - are taken, and it begins with "
                "a letter or a digit",
                hint="pass --run first   # or leave it out: a name is made from the model and the time",
            )
        if self.weights is not None:
            self._check_weights(self.weights)

    def _check_weights(self, weights: str) -> None:
        if not re.fullmatch(r"random:\d{1,9}", weights):
            raise UsageError(f"--weights {weights} is not random:SEED", hint="pass --weights random:0")
        if self.checkpoint is not None:
            raise UsageError("--weights and --checkpoint exclude each other", hint="leave one of them out")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run that can begin: nothing of it is on disk yet. `executor` has the devices that were asked for."""

    model: Model
    data: Dataset
    scenes: tuple[Scene, ...]
    environment: Environment
    header: RunHeader
    executor: Executor

    def renamed(self, name: str) -> RunPlan:
        """The same plan for a run of another name."""
        return replace(self, header=msgspec.structs.replace(self.header, run=name))


def run_model(layout: Layout, request: RunRequest, *, say: Say, on_progress: OnProgress) -> tuple[RunFolder, Summary]:
    """Run a model and return its run folder, complete or not, and a summary of what happened.

    Raises:
        AdmlopsError: something the user can mend; nothing is lost of a run that had begun.
    """
    return run_plan(layout, prepare(layout, request, say=say), request, say=say, on_progress=on_progress)


def run_plan(
    layout: Layout, plan: RunPlan, request: RunRequest, *, say: Say, on_progress: OnProgress
) -> tuple[RunFolder, Summary]:
    """Carry out what `prepare` made of the request; see `run_model`."""
    path = layout.runs / plan.header.run
    scenes = tuple(list_scene_jobs(plan.data, plan.scenes))
    goes_on = request.resume or request.retry_failed
    run = RunFolder.resume(path, plan.header) if goes_on else RunFolder.create(path, plan.header)
    run.relocate(plan.header)
    say(f"{plan.header.coverage}, on {name_devices(plan.executor)}")
    with run.lock():
        if request.retry_failed:
            _forget_evaluation(run, say=say)
        job = _make_job(layout, request, plan, run, scenes)
        with _telemetry(run, on_progress) as watch:
            summary = execute(job, executor=plan.executor, on_event=watch, cancel=request.cancel)
        run.write_manifest()
    return run, summary


def _make_job(layout: Layout, request: RunRequest, plan: RunPlan, run: RunFolder, scenes: tuple[SceneJob, ...]) -> Job:
    runtime = RUNTIMES.get(plan.header.runtime)
    return Job(
        run=run,
        model=plan.model.name,
        variant=plan.header.variant,
        command=_worker_command(layout, plan),
        settings={name: value for name, value in plan.header.settings.items() if name != "device"},
        scenes=scenes,
        samples=DataSetSamples(plan.data, with_context=_gets_context(plan.model, plan.data)),
        data_root=str(plan.data.root),
        runtime={"id": runtime.id, "file": str(runtime.file)},
        expected=expect_outputs(plan.model),
        temporal=plan.model.temporal,
        retry_failed=request.retry_failed,
        deadlines=request.deadlines,
    )


def _gets_context(model: Model, data: Dataset) -> bool:
    return model.traits.needs_context and isinstance(data, HasContext)


def name_devices(executor: Executor) -> str:
    """Name the devices of a run, and how many workers each has: `the CPU (…), 2 workers`."""
    slots = executor.slots()
    devices = {slot.device.id: slot.device for slot in slots}
    names = ", ".join(f"{'the CPU' if one.kind == 'cpu' else one.id} ({one.name})" for one in devices.values())
    return f"{names}, {len(slots)} worker{'' if len(slots) == 1 else 's'}"


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
    RUNTIMES.get(runtime)  # says which ones there are
    executor, devices = choose_executor(request, machine, say=say)
    data = data or open_data(request.data, request.version, wanted=model.reads)
    check_data_kind(model, data, request)
    check_set_up(layout, model, request.variant)
    _ensure_context(model, data, say=say)
    scenes = select(data, request.selection, temporal=model.temporal)
    checkpoint = _checkpoint(layout, model, request, say=say)
    settings = {
        "device": devices[0].id,
        **_settings(layout, model, request, checkpoint, say=say),
        "gpu_memory_limit_mb": _gpu_memory_limit_mb(request, devices[0]),
    }
    check_precision(model, request.precision, device=devices[0].kind)
    environment = _environment(layout, model, request, devices[0], say=say)
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
        checkpoint=checkpoint,
        checkpoint_name=_checkpoint_name(model, request, checkpoint),
        devices=devices,
        machine=machine,
        options={
            "command": request.command,
            "workers": request.workers,
            "limit": request.selection.limit,
            "device": request.device,
            "executor": request.executor,
        },
    )
    return RunPlan(
        model=model, data=data, scenes=tuple(scenes), environment=environment, header=header, executor=executor
    )


def choose_executor(
    request: RunRequest, machine: Mapping[str, Any], *, say: Say
) -> tuple[Executor, tuple[ComputeDevice, ...]]:
    """Return the executor and its devices, each once. Raises UsageError for a device that is not there."""
    executor = EXECUTORS.get(request.executor)(
        ExecutorOptions(devices=request.device, workers=request.workers, machine=machine)
    )
    devices = tuple({slot.device.id: slot.device for slot in executor.slots()}.values())
    if devices[0].kind == "cpu" and machine["gpus"].get("problem"):
        say(f"the NVIDIA driver fails ({machine['gpus']['problem']}); the run is on the CPU, as asked")
    for lost in machine["gpus"].get("lost", ()):
        say(f"a GPU of this machine does not answer and is left out: {lost}")
    others = {str(one["name"]) for one in machine["gpus"]["devices"]} - {device.name for device in devices}
    if request.device == "auto" and devices[0].kind == "cuda" and others:
        say(f"a run takes GPUs of one model; left out: {', '.join(sorted(others))} (--device chooses)")
    return executor, devices


def _environment(layout: Layout, model: Model, request: RunRequest, device: ComputeDevice, *, say: Say) -> Environment:
    """Return the environment that is ready; else build one for the device of this run."""
    found = find_model(layout, model, request.variant)
    if found is not None:
        return found
    pins = model.variants[request.variant or model.default_variant]
    return ensure_model(layout, model, request.variant, device=device.kind if pins.devices else None, say=say)


def _gpu_memory_limit_mb(request: RunRequest, device: ComputeDevice) -> float | None:
    """Return the limit in megabytes [MB, 10⁶ bytes]; a share is one of the GPU's whole memory."""
    if request.gpu_memory_share is None or device.kind == "cpu":
        return request.gpu_memory_limit_mb
    if device.memory_mb is None:
        raise UsageError(
            f"{device.id} ({device.name}) does not say how much memory it has, so no share of it can be taken",
            hint="pass --gpu-memory-limit 20GB, for example",
        )
    return round(request.gpu_memory_share * device.memory_mb, 1)


def _checkpoint_name(model: Model, request: RunRequest, checkpoint: Usable | None) -> str | None:
    """Return the weights' name in the catalogue, None for a person's own or random ones."""
    chosen = request.checkpoint or model.default_checkpoint
    return chosen if checkpoint is not None and chosen in model.checkpoints else None


def check_data_kind(model: Model, data: Dataset, request: RunRequest) -> None:
    """Refuse data that the adapter cannot read, and data that the model was not made for unless asked."""
    if data.kind in model.reads:
        return
    reads = " or ".join(model.reads)
    if data.kind not in model.off_distribution:
        raise UsageError(
            f"{model.name} reads {reads}, and {data.root} is {data.kind}",
            hint=f"pass --data with the root of {reads}; its adapter reads no {data.kind}, with no option",
        )
    if not request.off_distribution:
        raise UsageError(
            f"{model.name} reads {reads}, and {data.root} is {data.kind}",
            hint=f"pass --data with the root of {reads}; to run it there all the same, add --off-distribution",
        )


def check_set_up(layout: Layout, model: Model, variant: str | None) -> None:
    """A model that needs set-up is set up by a person's word, not on the way: it takes minutes."""
    if not model.traits.needs_setup:
        return
    readiness = find_readiness(layout, model, variant, weights=False)
    if not readiness.ready:
        raise EnvError(f"{model.name} is {readiness}", hint=readiness.hint)


def _settings(
    layout: Layout, model: Model, request: RunRequest, checkpoint: Usable | None, *, say: Say
) -> dict[str, Any]:
    """Return what the adapter is told; all of it decides the records, so it goes into the run's header."""
    return {
        "config": _config(layout, model, request.config or _config_of_checkpoint(layout, model, checkpoint, say=say)),
        "checkpoint": None if checkpoint is None else str(checkpoint.path),
        "precision": request.precision,
        "options": _options(model, request, checkpoint, say=say),
    }


def _options(model: Model, request: RunRequest, checkpoint: Usable | None, *, say: Say) -> dict[str, Any]:
    """The adapter's options: the user's, random weights, and the fixes that the weights need."""
    check_options(model, request.model_options)
    options: dict[str, Any] = dict(request.model_options)
    if request.weights is not None:
        options["weights"] = request.weights
    random = request.weights is not None
    asked = None if "fixes" in model.options else options.pop("fixes", None)
    fixes = needed_fixes(model, checkpoint=checkpoint, config=request.config, random=random, asked=asked)
    if fixes:
        say(f"corrections that these weights need: {', '.join(fixes)} (admlops models show {model.name})")
        options["fixes"] = fixes
    if request.off_distribution:
        options["off_distribution"] = True
    return options


def _config(layout: Layout, model: Model, asked: str | None) -> str | None:
    if asked is None:
        return None
    if asked in model.configs:
        return str(_working_folder(layout, model) / model.configs[asked])
    return _existing_file("--config", asked, model, tuple(model.configs))


def _config_of_checkpoint(layout: Layout, model: Model, checkpoint: Usable | None, *, say: Say) -> str | None:
    """The configuration that weights were trained with, by what they are; the default one where nothing tells.

    The worker refuses weights that do not fit it, and names the one that they fit.
    """
    usual = model.checkpoints[model.default_checkpoint].config if model.default_checkpoint else None
    if checkpoint is None:
        return usual
    if checkpoint.name is not None:
        return model.checkpoints[checkpoint.name].config
    from admlops.checkpoints import find_config  # as below

    found = find_config(layout, model, checkpoint.weights) if checkpoint.weights else None
    if found is not None:
        say(f"config {found.name}: {found.reason}")
        return found.name
    if usual is not None and len(model.configs) > 1:
        say(f"config {usual}, the default one: {checkpoint.path} does not say which it is for; --config chooses")
    return usual


def _checkpoint(layout: Layout, model: Model, request: RunRequest, *, say: Say) -> Usable | None:
    """The weights, hashed and inspected; None for a model that has none, and for random ones."""
    if request.weights is not None:
        if not model.traits.needs_weights:
            raise UsageError(f"{model.name} has no weights, so none can be random", hint="leave --weights out")
        say(f"{request.weights}: the weights are random, so the results say nothing about {model.name}")
        return None
    chosen = request.checkpoint or model.default_checkpoint
    if chosen is None:
        return None
    from admlops.checkpoints import ensure_usable  # loads the libraries that download

    return ensure_usable(layout, model, chosen, say=say)


def _existing_file(option: str, asked: str, model: Model, names: tuple[str, ...]) -> str:
    path = user_path(asked).resolve()
    if not path.is_file():
        known = f"{model.name} knows {', '.join(names)}" if names else f"{model.name} knows none by name"
        raise UsageError(
            f"{option} {asked} is neither a file nor a name of the catalogue; {known}",
            hint=f"admlops models show {model.name}",
        )
    return str(path)


def _worker_command(layout: Layout, plan: RunPlan) -> WorkerCommand:
    return WorkerCommand(
        python=plan.environment.python,
        adapter=plan.model.adapter,
        cwd=_working_folder(layout, plan.model),
        variables=process_environment(plan.environment.variables),
    )


def _working_folder(layout: Layout, model: Model) -> Path:
    """Return the adapter's working folder: the root of the model's source, because plugins import relative to it."""
    if model.source.kind == "embedded":
        return model.folder
    return layout.submodules / (model.source.folder or model.name)


def _ensure_context(model: Model, data: Dataset, *, say: Say) -> None:
    """Make the index that holds what lies around a sample, for a model that needs it."""
    if model.traits.needs_context and isinstance(data, HasContext) and not data.has_context:
        build_index(data.root, data.version, say=say)


@contextmanager
def _telemetry(run: RunFolder, on_progress: OnProgress) -> Iterator[Callable[[RunEvent], None]]:
    """Sample the machine while the block runs; the function it gives learns the workers' pids from the progress."""
    pids: dict[int, int] = {}
    total = sum(run.header.scenes.values())

    def watch(event: RunEvent) -> None:
        if event.kind == "worker" and event.pid is not None:
            pids[event.worker] = event.pid
        on_progress(event, total)

    with TelemetrySampler(run.telemetry_path, worker_pids=lambda: tuple(pids.values())):
        yield watch
