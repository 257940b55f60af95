"""Make weights that nobody publishes: the training program in a model's folder, as a job in its environment."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.catalog import Model, load_model
from admlops.checkpoints import Stored, add
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.processes import process_environment
from admlops.core.types import Planned, Say
from admlops.datasets.base import Dataset, open_data
from admlops.environments import ensure_model
from admlops.execution.cancel import CancelToken
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.health.devices import choose_devices
from admlops.health.machine import describe_machine
from admlops.pipeline.run import check_set_up
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.selection import Selection, select

PATIENT_THREADS = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Threads that wait for each other sleep: where others use the machine, those that spin cost several times the work."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """What to train on. `held_out` is the split that the accuracy is measured on; `epochs` None: the program's own."""

    model: str
    data: Path
    version: str | None = None
    split: str = "mini_train"
    held_out: str = "mini_val"
    seed: int = 0
    epochs: int | None = None
    device: str = "auto"
    cancel: CancelToken = field(default_factory=CancelToken)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """Weights in their place, and what the training program says of them."""

    name: str
    stored: Stored
    said: dict[str, Any]


def train_model(layout: Layout, request: TrainRequest, *, say: Say) -> Trained:
    """Train, and keep the weights in the checkpoint store in the place of those that were there.

    Raises:
        UsageError: the model has no training program, or the splits have samples in common.
        AdmlopsError: the data or the environment is wrong.
        RunFailedError: the training failed; the weights that were there stay.
    """
    model = load_model(layout, request.model)
    name = find_trained(model)
    check_set_up(layout, model, None)
    data = open_data(request.data, request.version, wanted=model.reads)
    training, held_out = _choose_samples(data, request)
    environment = ensure_model(layout, model, say=say)
    device = choose_devices(request.device, describe_machine())[0]
    say(f"training {model.name} on {len(training)} samples of {request.split}, seed {request.seed}, on {device.name}")
    with tempfile.TemporaryDirectory(prefix="admlops-training-") as folder:
        file = Path(folder) / model.checkpoints[name].file
        said = run_job(
            JobRequest(
                model=model.name,
                title=f"training {model.name}",
                command=WorkerCommand(
                    python=environment.python,
                    adapter=model.adapter,
                    cwd=working_folder(layout, model),
                    variables={**PATIENT_THREADS, **process_environment(environment.variables), **device.variables},
                ),
                program=_program(model, name),
                settings={"device": device.id_in_worker, "variant": model.default_variant},
                request={
                    "file": str(file),
                    "seed": request.seed,
                    "epochs": request.epochs,
                    "training": training,
                    "held_out": held_out,
                },
                log=layout.checkpoints / model.name / "train.log",
                cancel=request.cancel,
            ),
            say=say,
        )
        origin = f"trained here, seed {request.seed}, on {request.split} of {data.root}"
        stored = add(layout, model, name, file, say=say, replace=True, origin=origin)
    return Trained(name=name, stored=stored, said=said)


def preview_training(layout: Layout, request: TrainRequest) -> list[Planned]:
    """Say what `train_model` would do. Raises what it would before it begins."""
    model = load_model(layout, request.model)
    name = find_trained(model)
    check_set_up(layout, model, None)
    training, held_out = _choose_samples(open_data(request.data, request.version, wanted=model.reads), request)
    detail = f"{len(training)} samples of {request.split}, measured on {len(held_out)} of {request.held_out}"
    place = layout.checkpoints / model.name / model.checkpoints[name].file
    return [
        Planned(action="train", target=model.name, detail=detail),
        Planned(action="replace" if place.exists() else "write", target=str(place)),
    ]


def find_trained(model: Model) -> str:
    """Return the name of the weights that a program in the model's folder makes. Raises UsageError without any."""
    name = next((name for name, one in model.checkpoints.items() if one.trained_by is not None), None)
    if name is None:
        raise UsageError(
            f"{model.name} has no training program: its weights come from its authors",
            hint=f"admlops checkpoints fetch {model.name}",
        )
    return name


def _program(model: Model, name: str) -> Path:
    return model.folder / str(model.checkpoints[name].trained_by)


def _choose_samples(data: Dataset, request: TrainRequest) -> tuple[list[Any], list[Any]]:
    training, held_out = (_samples(data, split) for split in (request.split, request.held_out))
    both = {one["scene"] for one in training} & {one["scene"] for one in held_out}
    if both:
        raise UsageError(
            f"{request.split} and {request.held_out} share {len(both)} scenes, such as {min(both)}",
            hint="pass two splits that share none: --split mini_train --held-out mini_val",
        )
    return training, held_out


def _samples(data: Dataset, split: str) -> list[Any]:
    scenes = select(data, Selection(split=split), temporal=False)
    return [data.sample(token) for scene in scenes for token in scene.samples]
