"""Train a model: prepare, check, train in its environment, evaluate on the way, register what came out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog import Model, load_model
from admlops.catalog.model import Training
from admlops.catalog.registries import TRAINERS
from admlops.checkpoints import Stored, Trained, Usable, add, check_free, ensure_usable, keep_trained
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.types import Planned, Say
from admlops.datasets.base import Dataset, Scene, open_data, tokens_digest
from admlops.environments import Environment, ensure_model
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import ComputeDevice
from admlops.health.machine import available_memory_bytes
from admlops.pipeline.run import check_set_up
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.selection import Selection, select
from admlops.pipeline.train_choices import choose_config, choose_how_small, choose_processes, choose_splits
from admlops.pipeline.train_request import TrainRequest
from admlops.sources.provenance import describe_commit, describe_sources
from admlops.training.evaluations import CheckpointEvaluator, EvaluationRequest, deciding_metric
from admlops.training.folder import Saved, TrainingFolder, find_training, new_name, trainings_folder
from admlops.training.header import Registered, TrainingData, TrainingHeader
from admlops.training.log import cut_back
from admlops.training.preflight import (
    RANDOM,
    Finding,
    check_disk,
    check_initial_weights,
    check_memory,
    choose_learning_rate,
    describe_start,
    require_apart,
)
from admlops.training.smaller import Smaller
from admlops.training.supervise import OnLine, Work, supervise
from admlops.training.trainer import Place, Trainer, training_of

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep: where others use the machine, those that spin cost several times the work."""


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A training that is complete: its folder, the weights in the store, and what the program answers."""

    folder: TrainingFolder
    header: TrainingHeader
    stored: Stored
    said: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class _Plan:
    """All that a training needs, looked up and checked."""

    model: Model
    training: Training
    trainer: Trainer
    request: TrainRequest
    data: Dataset
    split: str
    held_out: str
    scenes: Sequence[Scene]
    held_out_scenes: Sequence[Scene]
    devices: Sequence[ComputeDevice]
    config: str | None
    parent: Usable | None
    initial: Mapping[str, str]
    learning_rate: float | None
    smaller: Smaller
    findings: Sequence[Finding]

    @property
    def variant(self) -> str:
        return self.model.choose_variant(self.request.variant)


def train_model(layout: Layout, request: TrainRequest, *, say: Say, on_line: OnLine) -> Finished:
    """Train, or go on with a training, and register the weights once it is complete.

    Raises:
        UsageError: the model has no trainer, or an option or a split is wrong.
        StoppedError: it was asked to stop; it goes on with `--resume`.
        RunFailedError: the training failed; its last checkpoint stays.
        AdmlopsError: the data, the weights, the disk or the environment is wrong.
    """
    folder = None if request.resume is None else find_training(layout, request.resume)
    if folder is not None:
        request = _take_up(folder, request)
    plan = _prepare(layout, request, say=say)
    environment = ensure_model(layout, plan.model, variant=plan.variant, say=say)
    place = _place(layout, plan, environment)
    prepared = plan.trainer.prepare(place, say=say)
    for finding in plan.findings:
        say(f"{finding.what}: {finding.text}")
    if folder is None:
        header = _header(layout, plan, environment)
        folder = TrainingFolder.create(trainings_folder(layout) / header.name, header)
    with folder.lock():
        saved = _rewind(folder, say=say) if request.resume is not None else None
        folder.write_header(msgspec.structs.replace(folder.header(), state="running", asked=request.asked()))
        work = _work(layout, plan, place, folder, prepared, saved)
        evaluator = _evaluator(layout, plan, folder, place, say=say)
        said = supervise(
            folder, work, evaluator=evaluator, evaluate_every=request.evaluate_every, on_line=on_line, say=say
        )
        stored = _register(layout, plan, folder, say=say)
    return Finished(folder=folder, header=folder.header(), stored=stored, said=said)


def train_published(layout: Layout, request: TrainRequest, *, say: Say, on_line: OnLine) -> tuple[str, Finished]:
    """Train the weights that the catalogue says are trained here, and put them in the place of those that were there.

    Returns the checkpoint's name in the catalogue. Raises as `train_model`, and UsageError for a model without such.
    """
    model = load_model(layout, request.model)
    name = find_trained(model)
    done = train_model(layout, request, say=say, on_line=on_line)
    origin = f"trained here, seed {request.seed}, training {done.header.name}"
    stored = add(layout, model, name, done.stored.path, say=say, replace=True, origin=origin)
    return name, replace(done, stored=stored)


def find_trained(model: Model) -> str:
    """Return the name of the weights that a program in the model's folder makes. Raises UsageError without any."""
    name = next((name for name, one in model.checkpoints.items() if one.trained_by is not None), None)
    if name is None:
        raise UsageError(
            f"{model.name} has no training program: its weights come from its authors",
            hint=f"admlops checkpoints fetch {model.name}",
        )
    return name


def preview_training(layout: Layout, request: TrainRequest, *, say: Say) -> list[Planned]:
    """Say what `train_model` would do. Raises what it would before it begins."""
    if request.resume is not None:
        folder = find_training(layout, request.resume)
        request = _take_up(folder, request)
        saved = folder.last_saved()
        begin = f"from iteration {saved.iteration}" if saved else "from its beginning"
        return [Planned(action="go on with", target=folder.path.name, detail=begin)]
    plan = _prepare(layout, request, say=say)
    detail = f"{_count(plan.scenes)} samples of {plan.split}, evaluated on {_count(plan.held_out_scenes)} of "
    name = request.name or f"{plan.model.name}-…"
    steps = [
        Planned(action="train", target=plan.model.name, detail=detail + plan.held_out),
        Planned(action="write", target=str(trainings_folder(layout) / name)),
        Planned(action="register", target=f"{plan.model.name} {name}"),
    ]
    return [*steps, *(Planned(action="check", target=one.what, detail=one.text) for one in plan.findings)]


def _take_up(folder: TrainingFolder, request: TrainRequest) -> TrainRequest:
    header = folder.header()
    if header.model != request.model:
        raise UsageError(
            f"the training {header.name} is of {header.model}, not of {request.model}", hint=header.resume_command
        )
    if header.state == "complete" and not (request.epochs or request.iterations):
        raise UsageError(
            f"the training {header.name} is complete",
            hint=f"{header.resume_command} --iterations {2 * header.iteration}   # to train on",
        )
    return request.repeating(header.asked)


def _prepare(layout: Layout, request: TrainRequest, *, say: Say) -> _Plan:
    """Look everything up and check it, before anything is written."""
    model = load_model(layout, request.model)
    training = training_of(model)
    request = replace(request, variant=request.variant or training.variant)
    trainer: Trainer = TRAINERS.get(training.trainer)  # type: ignore[assignment]  # the catalogue knows its id alone
    if request.data is None:
        raise UsageError("--data is missing: what to train on", hint=f"admlops train {model.name} --data DIR")
    check_set_up(layout, model, request.variant)
    if request.name is not None:
        check_free(layout, model, request.name)
    data = open_data(request.data, request.version, wanted=model.reads)
    split, held_out = choose_splits(data, request)
    scenes = select(data, Selection(split=split))
    held_out_scenes = select(data, Selection(split=held_out))
    require_apart([one.name for one in scenes], [one.name for one in held_out_scenes], split, held_out)
    devices = choose_processes(request, trainer)
    parent = None if request.start in (None, RANDOM) else ensure_usable(layout, model, str(request.start), say=say)
    smaller = choose_how_small(layout, model, training, request, say=say)
    config = choose_config(layout, model, training, request.config)
    initial: dict[str, str] = {}
    found: list[Finding] = []
    if request.start is None:
        initial, found = check_initial_weights(model, training, layout.checkpoints / model.name / "initial", config)
    batch = request.batch or (1 if request.smoke and training.total_batch else None)
    rate, about_rate = choose_learning_rate(training, asked=request.learning_rate, batch=batch, processes=len(devices))
    findings = [
        check_memory(training, devices, available_memory_bytes(), smoke=request.smoke),
        check_disk(training, trainings_folder(layout), evaluates=request.evaluate_every is not None),
        about_rate,
        *smaller.findings(),
        *found,
    ]
    return _Plan(
        model=model,
        training=training,
        trainer=trainer,
        request=replace(request, batch=batch),
        data=data,
        split=split,
        held_out=held_out,
        scenes=scenes,
        held_out_scenes=held_out_scenes,
        devices=devices,
        config=config,
        parent=parent,
        initial=initial,
        learning_rate=rate,
        smaller=smaller,
        findings=findings,
    )


def _place(layout: Layout, plan: _Plan, environment: Environment) -> Place:
    command = WorkerCommand(
        python=environment.python,
        adapter=plan.model.adapter,
        cwd=working_folder(layout, plan.model),
        variables={**PATIENT_THREADS, **process_environment(environment.variables), **plan.devices[0].variables},
    )
    return Place(
        layout=layout,
        model=plan.model,
        training=plan.training,
        command=command,
        data=plan.data,
        split=plan.split,
        scenes=plan.scenes,
        held_out=plan.held_out_scenes,
        config=plan.config,
        settings={"device": plan.devices[0].id_in_worker, "variant": plan.variant},
        cancel=plan.request.cancel,
    )


def _header(layout: Layout, plan: _Plan, environment: Environment) -> TrainingHeader:
    request = plan.request
    tokens = [token for scene in plan.scenes for token in scene.samples]
    parent = plan.parent
    kind = RANDOM if request.start == RANDOM else None
    return TrainingHeader(
        name=request.name or new_name(plan.model.name),
        model=plan.model.name,
        variant=plan.variant,
        trainer=plan.trainer.id,
        state="running",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        asked=request.asked(),
        settings={
            "learning_rate": plan.learning_rate,
            "batch": request.batch,
            "seed": request.seed,
            **plan.smaller.facts(),
        },
        data=TrainingData(
            root=str(plan.data.root),
            kind=plan.data.kind,
            version=plan.data.version,
            split=plan.split,
            held_out=plan.held_out,
            samples=len(tokens),
            samples_sha256=tokens_digest(tokens),
        ),
        start=describe_start(kind, None if parent is None else str(request.start), parent.sha256 if parent else None),
        device=plan.devices[0].name,
        processes=len(plan.devices),
        environment=environment.digest,
        commit=describe_commit(layout),
        sources=describe_sources(layout, plan.model),
        findings=[one.facts() for one in plan.findings],
    )


def _rewind(folder: TrainingFolder, *, say: Say) -> Saved | None:
    """Go back to the newest checkpoint: what was told of later iterations is done again."""
    saved = folder.last_saved()
    iteration = 0 if saved is None else saved.iteration
    again = cut_back(folder.log, iteration)
    say(f"going on behind iteration {iteration}" + (f"; {again} later ones are done again" if again else ""))
    return saved


def _work(
    layout: Layout, plan: _Plan, place: Place, folder: TrainingFolder, prepared: Mapping[str, Any], saved: Saved | None
) -> Work:
    request = plan.request
    start: dict[str, Any] = {"random": True} if request.start == RANDOM else {}
    if plan.parent is not None:
        start = {"weights": str(plan.parent.path)}
    every = request.checkpoint_every or request.evaluate_every
    resume = None
    if saved is not None:
        resume = {"iteration": saved.iteration, "weights": str(saved.weights), "state": str(saved.state)}
    processes = len(plan.devices)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(processes))
    return Work(
        model=plan.model.name,
        command=place.command,
        program=plan.trainer.program(layout, plan.model),
        settings={**place.settings, "config": place.config},
        request={
            **prepared,
            "training": {
                "folder": str(folder.path),
                "iterations": request.iterations,
                "epochs": request.epochs,
                "checkpoint_every": every,
                "seed": request.seed,
                "batch": request.batch,
                "learning_rate": plan.learning_rate,
                "start": start or {"initial": dict(plan.initial)},
                "resume": resume,
                "config": place.config,
                **plan.smaller.for_program(),
                "smoke": request.smoke,
                "smoke_settings": plan.training.smoke if request.smoke else {},
            },
        },
        launcher=launcher if processes > 1 else (),
        patience=request.patience,
        cancel=request.cancel,
    )


def _evaluator(
    layout: Layout, plan: _Plan, folder: TrainingFolder, place: Place, *, say: Say
) -> CheckpointEvaluator | None:
    if plan.request.evaluate_every is None:
        return None
    deciding = deciding_metric(plan.model)
    if deciding is None:
        raise UsageError(
            f"no evaluation says which checkpoint of {plan.model.name} is better", hint="leave --evaluate-every out"
        )
    request = EvaluationRequest(
        model=plan.model.name,
        data=Path(plan.data.root),
        version=plan.data.version,
        split=plan.held_out,
        config=place.config,
        variant=plan.request.variant,
        device=plan.devices[0].id,
    )
    return CheckpointEvaluator(
        layout=layout, folder=folder, request=request, deciding=deciding, say=say, on_result=lambda _: None
    )


def _register(layout: Layout, plan: _Plan, folder: TrainingFolder, *, say: Say) -> Stored:
    """Put the best weights, or the last ones, into the checkpoint store under the training's name."""
    header, saved = folder.header(), folder.last_saved()
    assert saved is not None, "a training that is complete has saved its last iteration"
    chosen = folder.best if header.best is not None else saved.weights
    iteration = header.best.iteration if header.best is not None else saved.iteration
    facts = Trained(
        model=plan.model.name,
        file="",
        sha256="",
        config=None,
        training=header.name,
        iteration=iteration,
        parent=msgspec.to_builtins(header.start),
        data=msgspec.to_builtins(header.data),
        commit=header.commit,
        sources=header.sources,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        metric=None if header.best is None else msgspec.to_builtins(header.best),
        **plan.smaller.facts(),
    )
    config = folder.config if folder.config.is_file() else None
    stored = keep_trained(layout, plan.model, header.name, weights=chosen, config=config, facts=facts, say=say)
    registered = Registered(name=header.name, file=str(stored.path), sha256=stored.entry.sha256)
    folder.write_header(msgspec.structs.replace(header, registered=registered))
    return stored


def _count(scenes: Sequence[Scene]) -> int:
    return sum(len(scene.samples) for scene in scenes)
