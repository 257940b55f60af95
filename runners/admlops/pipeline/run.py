"""One model over some scenes: select, ensure the environment, execute, leave a run folder."""

from __future__ import annotations

import platform
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from admlops import __version__
from admlops.catalog import Model, load_model
from admlops.datasets.nuscenes import NuScenes, Scene, tokens_digest
from admlops.environments import Environment, ensure_model
from admlops.errors import UsageError
from admlops.execution.deadlines import DEFAULT_DEADLINES, Deadlines
from admlops.execution.job import Job, Progress, SceneJob, Summary
from admlops.execution.schedule import execute
from admlops.execution.worker import WorkerCommand
from admlops.health import TelemetrySampler, describe_machine
from admlops.paths import Layout
from admlops.pipeline.selection import Selection, select
from admlops.processes import process_environment
from admlops.provenance import describe_adapter, describe_commit
from admlops.results.header import DataInfo, EnvironmentInfo, Provenance, RunHeader
from admlops.results.run_folder import RunFolder

Say = Callable[[str], None]
OnProgress = Callable[[Progress, int], None]
"""Called with each event of a run and the run's number of samples."""


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    """What the user asked for. `config` and `checkpoint` are names in the catalogue or paths of files.

    `command` is the command line, kept with the run for its readers.
    """

    model: str
    data: Path
    version: str = "v1.0-mini"
    selection: Selection = field(default_factory=Selection)
    variant: str | None = None
    device: str = "auto"
    workers: int = 1
    config: str | None = None
    checkpoint: str | None = None
    gpu_memory_limit_mb: float | None = None
    deadlines: Deadlines = DEFAULT_DEADLINES
    name: str | None = None
    resume: bool = False
    command: str = ""

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"--workers {self.workers} leaves no worker", hint="pass --workers 1 or more")
        if self.resume and self.name is None:
            raise UsageError("--resume needs the run's name", hint="pass --run NAME; admlops results list shows names")


@dataclass(frozen=True, kw_only=True)
class RunPlan:
    """A run that can begin: nothing of it is on disk yet."""

    model: Model
    data: NuScenes
    scenes: tuple[Scene, ...]
    environment: Environment
    header: RunHeader


def run_model(layout: Layout, request: RunRequest, *, say: Say, on_progress: OnProgress) -> tuple[RunFolder, Summary]:
    """Run a model and return its run folder, complete or not, and a summary of what happened.

    Raises:
        AdmlopsError: something the user can mend; nothing is lost of a run that had begun.
    """
    plan = prepare(layout, request, say=say)
    path = layout.runs / plan.header.run
    run = RunFolder.resume(path, plan.header) if request.resume else RunFolder.create(path, plan.header)
    with run.lock():
        job = Job(
            run=run,
            model=plan.model.name,
            variant=plan.header.variant,
            command=_worker_command(layout, plan),
            settings=plan.header.settings,
            scenes=tuple(_scene_jobs(plan.data, plan.scenes)),
            workers=request.workers,
            deadlines=request.deadlines,
        )
        with _telemetry(run, on_progress) as watch:
            summary = execute(job, on_progress=watch)
        run.write_manifest()
    return run, summary


def prepare(layout: Layout, request: RunRequest, *, say: Say) -> RunPlan:
    """Everything a run needs, looked up and checked, before a folder is made. Builds the environment if it must.

    Raises:
        AdmlopsError: the model, the data, an option or the environment is wrong.
    """
    model = load_model(layout, request.model)
    data = NuScenes(request.data, request.version)
    scenes = select(data, request.selection)
    settings = _settings(layout, model, request)
    environment = ensure_model(layout, model, request.variant, say=say)
    header = _header(layout, model, environment, data, scenes, settings, request)
    return RunPlan(model=model, data=data, scenes=tuple(scenes), environment=environment, header=header)


def _settings(layout: Layout, model: Model, request: RunRequest) -> dict[str, Any]:
    """What the adapter is told; all of it decides the records, so it goes into the run's header."""
    return {
        "device": _device(request.device),
        "config": _config(layout, model, request.config),
        "checkpoint": _checkpoint(layout, model, request.checkpoint),
        "gpu_memory_limit_mb": request.gpu_memory_limit_mb,
        "options": {},
    }


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


def _checkpoint(layout: Layout, model: Model, asked: str | None) -> str | None:
    chosen = asked or model.default_checkpoint
    if chosen is None:
        return None
    if chosen in model.checkpoints:
        return str(layout.checkpoints / model.name / model.checkpoints[chosen].file)
    return _existing_file("--checkpoint", chosen, model, tuple(model.checkpoints))


def _existing_file(option: str, asked: str, model: Model, names: tuple[str, ...]) -> str:
    path = Path(asked).expanduser().resolve()
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


def _scene_jobs(data: NuScenes, scenes: Iterable[Scene]) -> Iterator[SceneJob]:
    for scene in scenes:
        yield SceneJob(name=scene.name, samples=[data.sample(token) for token in scene.samples])


def _header(
    layout: Layout,
    model: Model,
    environment: Environment,
    data: NuScenes,
    scenes: list[Scene],
    settings: dict[str, Any],
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
