"""What a training uses where the person leaves it open: splits, devices, configuration, teacher."""

from __future__ import annotations

from pathlib import Path

from admlops.catalog import Model
from admlops.catalog.model import Training
from admlops.checkpoints import ensure_usable
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Dataset
from admlops.health.devices import ComputeDevice, choose_devices
from admlops.health.machine import describe_machine
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.train_request import TrainRequest
from admlops.training.smaller import Smaller, choose_smaller
from admlops.training.trainer import Trainer


def choose_splits(data: Dataset, request: TrainRequest) -> tuple[str, str]:
    """The split to train on and the one that is held out: those of the tables unless others are asked for."""
    mini = "mini_" if data.version.endswith("mini") else ""
    return request.split or f"{mini}train", request.held_out or f"{mini}val"


def choose_processes(request: TrainRequest, trainer: Trainer) -> tuple[ComputeDevice, ...]:
    """Return a device for each process: the first one, or as many GPUs as are asked for.

    Raises:
        UsageError: there are fewer, or the trainer takes one alone.
    """
    there = choose_devices(request.device, describe_machine())
    wanted = request.gpus or 1
    if wanted > 1 and not trainer.takes_processes:
        raise UsageError(f"--gpus {wanted}: the trainer {trainer.id} trains on one GPU", hint="leave --gpus out")
    if request.gpus is not None and (there[0].kind == "cpu" or len(there) < wanted):
        found = "no GPU" if there[0].kind == "cpu" else f"{len(there)}"
        raise UsageError(f"--gpus {wanted}, and there is {found} here", hint="admlops info   # lists the devices")
    return there[:wanted]


def choose_config(layout: Layout, model: Model, training: Training, asked: str | None) -> str | None:
    """The configuration's path: the one that is asked for, that of `[training]`, or that of the default weights."""
    usual = model.checkpoints[model.default_checkpoint].config if model.default_checkpoint else None
    name = asked or training.config or usual
    if name is None:
        return None
    if name in model.configs:
        return str(working_folder(layout, model) / model.configs[name])
    path = Path(name).expanduser().resolve()
    if not path.is_file():
        raise UsageError(
            f"--config {name} is neither a file nor a config: {model.describe_unknown(name, tuple(model.configs))}",
            hint=f"admlops models show {model.name}",
        )
    return str(path)


def choose_how_small(layout: Layout, model: Model, training: Training, request: TrainRequest, *, say: Say) -> Smaller:
    """How the network is made smaller. Raises as `choose_smaller`."""
    return choose_smaller(
        model,
        training,
        asked={name: getattr(request, name) for name in ("teacher", "temperature", "soft_share", "prune")},
        start=request.start,
        find=lambda name: ensure_usable(layout, model, name, say=say),
    )
