"""Train a model: prepare, check, train in its environment, evaluate on the way, register what came out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from admlops.catalog import Model, load_model
from admlops.checkpoints import Stored, Trained, add, keep_trained
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.storage import file_sha256, write_atomically
from admlops.core.types import Say
from admlops.datasets.base import tokens_digest
from admlops.datasets.class_labels import list_labelled
from admlops.environments import Environment, ensure_model
from admlops.execution.worker import WorkerCommand
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.train_plan import TrainPlan, config_name, has_no_splits, prepare_training, take_up
from admlops.pipeline.train_request import TrainRequest
from admlops.sources.provenance import describe_commit, describe_sources
from admlops.training.evaluations import CheckpointEvaluator, EvaluationRequest, deciding_metric
from admlops.training.folder import Saved, TrainingFolder, find_training, new_name, trainings_folder
from admlops.training.header import Registered, TrainingData, TrainingHeader
from admlops.training.log import cut_back
from admlops.training.preflight import (
    RANDOM,
    describe_start,
)
from admlops.training.supervise import OnLine, Work, supervise
from admlops.training.trainer import Place

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep: on a shared machine, spinning ones cost several times the work."""


OnOpen = Callable[[TrainingFolder], None]


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A training that is complete: its folder, the weights in the store, and what the program answers."""

    folder: TrainingFolder
    header: TrainingHeader
    stored: Stored
    said: dict[str, Any]


def train_model(
    layout: Layout, request: TrainRequest, *, say: Say, on_line: OnLine, on_open: OnOpen = lambda _: None
) -> Finished:
    """Train, or go on with a training, and register the weights once it is complete.

    `on_open` gets the training's folder before it begins.

    Raises:
        UsageError: the model has no trainer, or an option or a split is wrong.
        StoppedError: it was asked to stop; it goes on with `--resume`.
        RunFailedError: the training failed; its last checkpoint stays.
        AdmlopsError: the data, the weights, the disk or the environment is wrong.
    """
    folder = None if request.resume is None else find_training(layout, request.resume)
    if folder is not None:
        request = take_up(folder, request)
    plan = prepare_training(layout, request, say=say)
    request = plan.request
    environment = ensure_model(layout, plan.model, variant=request.variant, say=say)
    place = _place(layout, plan, environment)
    prepared = plan.trainer.prepare(place, say=say)
    for finding in plan.findings:
        say(f"{finding.what}: {finding.text}")
    if folder is None:
        header = _header(layout, plan, environment)
        folder = TrainingFolder.create(trainings_folder(layout) / header.name, header)
    on_open(folder)
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
    """Train the weights that the catalogue says are trained here, and replace the earlier ones.

    Returns the checkpoint's name in the catalogue. Raises as `train_model`, and UsageError for a model without such
    weights.
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


def _place(layout: Layout, plan: TrainPlan, environment: Environment) -> Place:
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


def _header(layout: Layout, plan: TrainPlan, environment: Environment) -> TrainingHeader:
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
            labels=_label_files(plan),
        ),
        start=describe_start(kind, None if parent is None else str(request.start), parent.sha256 if parent else None),
        device=plan.devices[0].name,
        processes=len(plan.devices),
        environment=environment.digest,
        commit=describe_commit(layout),
        sources=describe_sources(layout, plan.model),
        findings=[one.facts() for one in plan.findings],
    )


def _label_files(plan: TrainPlan) -> dict[str, str]:
    found = list_labelled(plan.data.root)
    return {task: file_sha256(path) for task, path in found.items() if task in plan.model.tasks}


def _rewind(folder: TrainingFolder, *, say: Say) -> Saved | None:
    """Go back to the newest checkpoint: the later iterations of the log are done again."""
    saved = folder.last_saved()
    iteration = 0 if saved is None else saved.iteration
    again = cut_back(folder.log, iteration)
    say(f"going on behind iteration {iteration}" + (f"; {again} later ones are done again" if again else ""))
    return saved


def _work(
    layout: Layout,
    plan: TrainPlan,
    place: Place,
    folder: TrainingFolder,
    prepared: Mapping[str, Any],
    saved: Saved | None,
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
    layout: Layout, plan: TrainPlan, folder: TrainingFolder, place: Place, *, say: Say
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
        tokens=_write_tokens(plan, folder) if has_no_splits(plan.data) else None,
    )
    return CheckpointEvaluator(
        layout=layout, folder=folder, request=request, deciding=deciding, say=say, on_result=lambda _: None
    )


def _write_tokens(plan: TrainPlan, folder: TrainingFolder) -> Path:
    """Write a file of the held-out samples, where they are no split of the data set."""
    tokens = [token for scene in plan.held_out_scenes for token in scene.samples]
    path = folder.path / "held_out.txt"
    write_atomically(path, "\n".join([*tokens, ""]).encode())
    return path


def _register(layout: Layout, plan: TrainPlan, folder: TrainingFolder, *, say: Say) -> Stored:
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
        config_name=config_name(plan.model, plan.training, plan.request.config),
        metric=None if header.best is None else msgspec.to_builtins(header.best),
        **plan.smaller.facts(),
    )
    config = folder.config if folder.config.is_file() else None
    stored = keep_trained(layout, plan.model, header.name, weights=chosen, config=config, facts=facts, say=say)
    registered = Registered(name=header.name, file=str(stored.path), sha256=stored.entry.sha256)
    folder.write_header(msgspec.structs.replace(header, registered=registered))
    return stored
