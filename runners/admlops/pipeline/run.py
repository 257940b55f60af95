"""One model over some scenes: select, ensure the environment, execute, leave a run folder."""

from __future__ import annotations

import platform
import re
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from admlops import __version__
from admlops.catalog import Model, load_model
from admlops.core.errors import EnvError, UsageError
from admlops.core.paths import Layout, user_path
from admlops.core.processes import process_environment
from admlops.core.types import Say
from admlops.datasets.base import Dataset, HasContext, Scene, open_data, tokens_digest
from admlops.datasets.nuscenes.sample_index import build_index
from admlops.environments import Environment, ensure_model
from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.execution.executors.local import execute
from admlops.execution.scene_job import Job, Progress, SceneJob, Summary
from admlops.execution.worker import WorkerCommand
from admlops.health.machine import TelemetrySampler, describe_machine
from admlops.pipeline.fixes import needed_fixes
from admlops.pipeline.options import check_options, check_precision
from admlops.pipeline.provenance import describe_adapter, describe_commit, describe_sources
from admlops.pipeline.readiness import find_readiness
from admlops.pipeline.selection import Selection, select
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder
from worker.precision import AUTHORS

if TYPE_CHECKING:
    from admlops.checkpoints import Usable

OnProgress = Callable[[Progress, int], None]
"""Called with each event of a run and the run's number of samples."""


RUN_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for. `config` and `checkpoint` are names in the catalogue or paths of files.

    `weights` is `random:SEED` instead of a checkpoint: such a run says how a model runs, and nothing of how good it is.
    `off_distribution` allows data that the model was not made for; its numbers then have a protocol of their own.
    `precision` is one of `worker.precision.PRECISIONS`. `model_options` are those that its catalogue entry lists.
    `command` is the command line, kept with the run for its readers.
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
    deadlines: Deadlines = DEFAULT_DEADLINES
    name: str | None = None
    resume: bool = False
    retry_failed: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers} leaves no worker", hint="pass --workers 1 or more")
        if self.resume and self.name is None:
            raise UsageError("--resume needs the run's name", hint="pass --run NAME; admlops results list shows names")
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
    """A run that can begin: nothing of it is on disk yet."""

    model: Model
    data: Dataset
    scenes: tuple[Scene, ...]
    environment: Environment
    header: RunHeader

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
    run = RunFolder.resume(path, plan.header) if request.resume else RunFolder.create(path, plan.header)
    with run.lock():
        job = Job(
            run=run,
            model=plan.model.name,
            variant=plan.header.variant,
            command=_worker_command(layout, plan),
            settings=plan.header.settings,
            scenes=tuple(_scene_jobs(plan.model, plan.data, plan.scenes)),
            workers=request.workers,
            deadlines=request.deadlines,
        )
        with _telemetry(run, on_progress) as watch:
            summary = execute(job, on_progress=watch)
        run.write_manifest()
    return run, summary


def prepare(
    layout: Layout, request: RunRequest, *, say: Say, model: Model | None = None, data: Dataset | None = None
) -> RunPlan:
    """Everything a run needs, looked up and checked, before a folder is made. Builds the environment if it must.

    Args:
        model: what the request names, if it is loaded already.
        data: what the request names, if it is open already.

    Raises:
        AdmlopsError: the model, the data, an option or the environment is wrong.
    """
    model = model or load_model(layout, request.model)
    data = data or open_data(request.data, request.version, wanted=model.reads)
    _check_data_kind(model, data, request)
    _check_set_up(layout, model, request.variant)
    _ensure_context(model, data, say=say)
    scenes = select(data, request.selection)
    checkpoint = _checkpoint(layout, model, request, say=say)
    settings = _settings(layout, model, request, checkpoint, say=say)
    check_precision(model, request.precision, device=settings["device"])
    environment = ensure_model(layout, model, request.variant, say=say)
    header = _header(layout, model, environment, data, scenes, settings, checkpoint, request)
    return RunPlan(model=model, data=data, scenes=tuple(scenes), environment=environment, header=header)


def _check_data_kind(model: Model, data: Dataset, request: RunRequest) -> None:
    if data.kind in model.reads or request.off_distribution:
        return
    reads = " or ".join(model.reads)
    raise UsageError(
        f"{model.name} reads {reads}, and {data.root} is {data.kind}",
        hint=f"pass --data with the root of {reads}; to run it there all the same, add --off-distribution",
    )


def _check_set_up(layout: Layout, model: Model, variant: str | None) -> None:
    """A model that needs set-up is set up by a person's word, not on the way: it takes minutes."""
    if not model.traits.needs_setup:
        return
    readiness = find_readiness(layout, model, variant, weights=False)
    if not readiness.ready:
        raise EnvError(f"{model.name} is {readiness}", hint=readiness.hint)


def _settings(
    layout: Layout, model: Model, request: RunRequest, checkpoint: Usable | None, *, say: Say
) -> dict[str, Any]:
    """What the adapter is told; all of it decides the records, so it goes into the run's header."""
    return {
        "device": _device(request.device),
        "config": _config(layout, model, request.config or _config_of_checkpoint(model, request.checkpoint)),
        "checkpoint": None if checkpoint is None else str(checkpoint.path),
        "gpu_memory_limit_mb": request.gpu_memory_limit_mb,
        "precision": request.precision,
        "options": _options(model, request, say=say),
    }


def _options(model: Model, request: RunRequest, *, say: Say) -> dict[str, Any]:
    """The adapter's options: the user's, random weights, and the fixes that the weights need."""
    check_options(model, request.model_options)
    options: dict[str, Any] = dict(request.model_options)
    if request.weights is not None:
        options["weights"] = request.weights
    random = request.weights is not None
    fixes = needed_fixes(model, checkpoint=request.checkpoint, config=request.config, random=random)
    if fixes:
        say(f"corrections that these weights need: {', '.join(fixes)} (admlops models show {model.name})")
        options["fixes"] = fixes
    if request.off_distribution:
        options["off_distribution"] = True
    return options


def _device(asked: str) -> str:
    if asked != "auto":
        return asked
    return "cuda:0" if describe_machine()["gpus"]["devices"] else "cpu"


def _config(layout: Layout, model: Model, asked: str | None) -> str | None:
    if asked is None:
        return None
    if asked in model.configs:
        return str(_working_folder(layout, model) / model.configs[asked])
    return _existing_file("--config", asked, model, tuple(model.configs))


def _config_of_checkpoint(model: Model, asked: str | None) -> str | None:
    """The configuration that the catalogue's weights were trained with; None for weights of the user's own."""
    chosen = asked or model.default_checkpoint
    known = model.checkpoints.get(chosen) if chosen else None
    return None if known is None else known.config


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
    """Where the adapter runs: the root of the model's source, because plugins import relative to it."""
    if model.source.kind == "embedded":
        return model.folder
    return layout.submodules / (model.source.folder or model.name)


def _ensure_context(model: Model, data: Dataset, *, say: Say) -> None:
    """Make the index that holds what lies around a sample, for a model that needs it."""
    if model.traits.needs_context and isinstance(data, HasContext) and not data.has_context:
        build_index(data.root, data.version, say=say)


def _scene_jobs(model: Model, data: Dataset, scenes: Iterable[Scene]) -> Iterator[SceneJob]:
    for scene in scenes:
        samples = [data.sample(token) for token in scene.samples]
        if model.traits.needs_context and isinstance(data, HasContext):
            samples = [sample | {"context": data.context(sample["sample_token"])} for sample in samples]
        yield SceneJob(name=scene.name, samples=samples)


def _header(
    layout: Layout,
    model: Model,
    environment: Environment,
    data: Dataset,
    scenes: list[Scene],
    settings: dict[str, Any],
    checkpoint: Usable | None,
    request: RunRequest,
) -> RunHeader:
    now = datetime.now(UTC)
    machine = describe_machine()
    return RunHeader(
        run=request.name or f"{model.name}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}",
        model=model.name,
        variant=request.variant or model.default_variant,
        environment=EnvironmentInfo(
            name=environment.name,
            digest=environment.digest,
            backend=environment.backend,
            python=str(environment.python),
        ),
        data=DataInfo(
            root=str(data.root),
            version=data.version,
            split=request.selection.split_name,
            samples_sha256=tokens_digest(token for scene in scenes for token in scene.samples),
            synthetic=data.is_synthetic,
        ),
        provenance=Provenance(
            commit=describe_commit(layout),
            admlops=__version__,
            host=f"{machine['system']}, {machine['cpu']} x {machine['cpu_count']}, {machine['memory_mb']} MB, "
            f"Python {platform.python_version()}",
            gpus=[str(device["name"]) for device in machine["gpus"]["devices"]],
            driver=machine["gpus"]["driver"],
            sources=describe_sources(layout, model),
            checkpoint_sha256=None if checkpoint is None else checkpoint.sha256,
        ),
        scenes={scene.name: len(scene.samples) for scene in scenes},
        settings=settings,
        adapter=describe_adapter(layout, model.folder),
        options={
            "command": request.command,
            "workers": request.workers,
            "limit": request.selection.limit,
            "device": request.device,
        },
        created=now.isoformat(timespec="seconds"),
    )


@contextmanager
def _telemetry(run: RunFolder, on_progress: OnProgress) -> Iterator[Callable[[Progress], None]]:
    """Sample the machine while the block runs; the function it gives learns the workers' pids from the progress."""
    pids: dict[int, int] = {}
    total = sum(run.header.scenes.values())

    def watch(progress: Progress) -> None:
        if progress.kind == "worker" and progress.pid is not None:
            pids[progress.worker] = progress.pid
        on_progress(progress, total)

    with TelemetrySampler(run.telemetry_path, worker_pids=lambda: tuple(pids.values())):
        yield watch
