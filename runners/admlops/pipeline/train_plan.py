"""What a training needs, looked up and checked before anything is written: samples, devices, weights, disk, rate."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from admlops.catalog import Model, load_model
from admlops.catalog.model import Training
from admlops.catalog.registries import TRAINERS
from admlops.checkpoints import Usable, check_free, ensure_usable
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.types import Planned, Say
from admlops.datasets.base import Dataset, HasSplits, Scene, open_data
from admlops.health.devices import ComputeDevice, choose_devices
from admlops.health.machine import available_memory_bytes, describe_machine
from admlops.pipeline.run import check_set_up
from admlops.pipeline.run_settings import working_folder
from admlops.pipeline.selection import Selection, select
from admlops.pipeline.smoke import fill_in, plan_smoke_data
from admlops.pipeline.train_request import TrainRequest
from admlops.training.folder import TrainingFolder, find_training, trainings_folder
from admlops.training.preflight import (
    RANDOM,
    Finding,
    check_disk,
    check_initial_weights,
    check_memory,
    choose_learning_rate,
    require_apart,
)
from admlops.training.smaller import Smaller, choose_smaller
from admlops.training.trainer import Trainer, training_of

EVERY_PICTURE = "all"
"""The only split of pictures whose data set names none."""


@dataclass(frozen=True, kw_only=True)
class TrainPlan:
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


def preview_training(layout: Layout, request: TrainRequest, *, say: Say) -> list[Planned]:
    """Say what `train_model` would do. Raises the errors that it raises before it begins."""
    if request.resume is not None:
        folder = find_training(layout, request.resume)
        request = take_up(folder, request)
        saved = folder.last_saved()
        begin = f"from iteration {saved.iteration}" if saved else "from its beginning"
        return [Planned(action="go on with", target=folder.path.name, detail=begin)]
    model = load_model(layout, request.model)
    if request.smoke and request.data is None and model.training is not None:
        made = plan_smoke_data(layout, model)
        if made is not None:
            return [made, Planned(action="train", target=model.name, detail="on these data")]
    plan = prepare_training(layout, request, say=say)
    detail = f"{_count(plan.scenes)} samples of {plan.split}, evaluated on {_count(plan.held_out_scenes)} of "
    name = request.name or f"{plan.model.name}-…"
    steps = [
        Planned(action="train", target=plan.model.name, detail=detail + plan.held_out),
        Planned(action="write", target=str(trainings_folder(layout) / name)),
        Planned(action="register", target=f"{plan.model.name} {name}"),
    ]
    return [*steps, *(Planned(action="check", target=one.what, detail=one.text) for one in plan.findings)]


def take_up(folder: TrainingFolder, request: TrainRequest) -> TrainRequest:
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


def prepare_training(layout: Layout, request: TrainRequest, *, say: Say) -> TrainPlan:
    """Look everything up and check it, before anything is written."""
    model = load_model(layout, request.model)
    training = training_of(model)
    request = fill_in(layout, model, request, say=say)
    request = replace(request, variant=request.variant or training.variant)
    trainer: Trainer = TRAINERS.get(training.trainer)  # type: ignore[assignment]  # the catalogue knows its id alone
    if request.data is None:
        raise UsageError("--data is missing: what to train on", hint=f"admlops train {model.name} --data DIR")
    check_set_up(layout, model, request.variant)
    if request.name is not None:
        check_free(layout, model, request.name)
    data = open_data(request.data, request.version, wanted=model.reads)
    split, held_out, scenes, held_out_scenes = choose_samples(data, request)
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
    return TrainPlan(
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


def choose_samples(data: Dataset, request: TrainRequest) -> tuple[str, str, list[Scene], list[Scene]]:
    """Return the names and samples of the two splits; pictures without splits are divided into four fifths and one.

    Raises:
        UsageError: the splits share scenes.
    """
    if not request.split and not request.held_out and has_no_splits(data):
        whole = select(data, Selection(split=EVERY_PICTURE))
        return "four of five pictures", "one of five pictures", *take_a_fifth(whole)
    split, held_out = choose_splits(data, request)
    scenes = select(data, Selection(split=split))
    held_out_scenes = select(data, Selection(split=held_out))
    require_apart([one.name for one in scenes], [one.name for one in held_out_scenes], split, held_out)
    return split, held_out, scenes, held_out_scenes


def has_no_splits(data: Dataset) -> bool:
    """Tell whether a data set is of pictures that nobody has divided."""
    return isinstance(data, HasSplits) and set(data.splits()) == {EVERY_PICTURE}


def take_a_fifth(scenes: Sequence[Scene]) -> tuple[list[Scene], list[Scene]]:
    """Divide samples by their tokens, so that a sample's part does not depend on the other samples."""

    def part(scene: Scene, *, held_out: bool) -> Scene:
        kept = [one for one in scene.samples if (zlib.crc32(one.encode()) % 5 == 0) == held_out]
        return replace(scene, samples=tuple(kept))

    parts = ([part(one, held_out=held_out) for one in scenes] for held_out in (False, True))
    training, rest = ([one for one in some if one.samples] for some in parts)
    return training, rest


def choose_splits(data: Dataset, request: TrainRequest) -> tuple[str, str]:
    """The split to train on and the one that is held out: those of the tables unless others are asked for."""
    mini = "mini_" if data.version.endswith("mini") else ""
    return request.split or f"{mini}train", request.held_out or f"{mini}val"


def choose_processes(request: TrainRequest, trainer: Trainer) -> tuple[ComputeDevice, ...]:
    """Return a device for each process: the first one, or as many GPUs as are asked for.

    Raises:
        UsageError: there are fewer, or the trainer takes only one.
    """
    there = choose_devices(request.device, describe_machine())
    wanted = request.gpus or 1
    if wanted > 1 and not trainer.takes_processes:
        raise UsageError(f"--gpus {wanted}: the trainer {trainer.id} trains on one GPU", hint="leave --gpus out")
    if request.gpus is not None and (there[0].kind == "cpu" or len(there) < wanted):
        found = "no GPU" if there[0].kind == "cpu" else f"{len(there)}"
        raise UsageError(f"--gpus {wanted}, and there is {found} here", hint="admlops info   # lists the devices")
    return there[:wanted]


def config_name(model: Model, training: Training, asked: str | None) -> str | None:
    """The name or the file of the configuration that is trained; None for a model that has none."""
    usual = model.checkpoints[model.default_checkpoint].config if model.default_checkpoint else None
    return asked or training.config or usual


def choose_config(layout: Layout, model: Model, training: Training, asked: str | None) -> str | None:
    """The configuration's path: the one that is asked for, that of `[training]`, or that of the default weights."""
    name = config_name(model, training, asked)
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


def _count(scenes: Sequence[Scene]) -> int:
    return sum(len(scene.samples) for scene in scenes)
