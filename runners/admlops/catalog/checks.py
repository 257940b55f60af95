"""Consistency checks between the keys of one `model.toml`, once each key alone is right."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from admlops.catalog.model import Model, Variant
from admlops.catalog.protocols import LATENCY, PROTOCOLS
from admlops.catalog.registries import DATA_KINDS, INSTALLERS, RUNTIMES, TASKS, TRAINERS
from admlops.catalog.tasks import DETECTION_2D, Task


class Problem(NamedTuple):
    """One thing wrong: the TOML key path (empty for the whole file) and what is expected there."""

    key: str
    expected: str


def check_model(model: Model) -> Iterator[Problem]:
    """Yield every contradiction between two keys of the model, or between its keys and its folder's name."""
    if model.name != model.folder.name:
        yield Problem("name", f'must be the folder\'s name, "{model.folder.name}", not "{model.name}"')
    yield from _one_of("default_variant", model.default_variant, model.variants, "a variant")
    if model.default_checkpoint is not None:
        yield from _one_of("default_checkpoint", model.default_checkpoint, model.checkpoints, "a checkpoint")
    yield from _check_source(model)
    yield from _check_variants(model)
    yield from _check_tasks(model)
    tasks = [TASKS.get(task) for task in model.tasks if task in TASKS]
    yield from _check_frames(model, tasks)
    yield from _check_classes(model, tasks)
    yield from _check_detection_2d(model)
    if model.batches and model.temporal:
        yield Problem("batches", "must be absent: a temporal model's samples depend on those before them")
    for name in model.config_sensors:
        yield from _one_of(f"config_sensors.{name}", name, model.configs, "a config")
    yield from _check_checkpoints(model)
    yield from _check_training(model)
    yield from _check_protocols(model)
    yield from _check_claims(model)


def _one_of(key: str, value: str, known: Collection[str], what: str) -> Iterator[Problem]:
    if value not in known:
        names = ", ".join(known) or "none is defined"
        yield Problem(key, f'must name {what} of this file ({names}), not "{value}"')


def _check_source(model: Model) -> Iterator[Problem]:
    given = {"repository": model.source.repository, "commit": model.source.commit}
    for key, value in given.items():
        if model.source.kind == "git" and value is None:
            yield Problem(f"source.{key}", 'is missing: a source of kind "git" needs it')
        if model.source.kind == "embedded" and value is not None:
            yield Problem(f"source.{key}", 'must be absent: a source of kind "embedded" lies in the model\'s folder')


def _check_variants(model: Model) -> Iterator[Problem]:
    for name, variant in model.variants.items():
        key = f"variants.{name}"
        locks = {"requirements": variant.requirements, "conda_lock": variant.conda_lock}
        for lock, path in (locks | {f"locks.{name}": path for name, path in variant.locks.items()}).items():
            if path is not None and not _is_inside(model.folder, path):
                yield Problem(f"{key}.{lock}", f"must be a path inside the model's folder, not {path}")
        for specifier, text in (("python", variant.python), ("driver", variant.driver)):
            if text is not None and not _is_specifier(text):
                yield Problem(f"{key}.{specifier}", f'must be a version specifier, such as ">=3.11", not "{text}"')
        yield from _check_installers(key, variant)
        if len(set(variant.arch)) < len(variant.arch):
            yield Problem(f"{key}.arch", "names an architecture twice")
        if variant.compiled and not variant.devices:
            yield Problem(f"{key}.devices", "is missing: compiled packages are built for a device")


def _check_installers(key: str, variant: Variant) -> Iterator[Problem]:
    for index, installer in enumerate(variant.installers):
        if installer not in INSTALLERS:
            reason = INSTALLERS.describe_unknown(installer)
            yield Problem(f"{key}.installers[{index}]", f'must be an installer\'s id, not "{installer}": {reason}')
    if ("conda" in variant.installers) != (variant.conda_lock is not None):
        state = "is missing: the installer" if variant.conda_lock is None else "must be absent without the installer"
        yield Problem(f"{key}.conda_lock", f'{state} "conda"')
    for installer in sorted(variant.locks.keys() - set(variant.installers)):
        yield Problem(f"{key}.locks.{installer}", "must be absent: the variant does not name this installer")


def _is_inside(folder: Path, file: Path) -> bool:
    return file != folder and ".." not in file.parts and file.is_relative_to(folder)


def _is_specifier(text: str) -> bool:
    try:
        SpecifierSet(text)
    except InvalidSpecifier:
        return False
    return True


def _check_tasks(model: Model) -> Iterator[Problem]:
    for index, task in enumerate(model.tasks):
        if task not in TASKS:
            yield Problem(f"tasks[{index}]", f'must be one of {", ".join(TASKS.ids())}, not "{task}"')
    for index, kind in enumerate(model.reads):
        if kind not in DATA_KINDS:
            yield Problem(f"reads[{index}]", f'must be one of {", ".join(DATA_KINDS.ids())}, not "{kind}"')
    if model.runtime not in RUNTIMES:
        yield Problem("runtime", f'must be one of {", ".join(RUNTIMES.ids())}, not "{model.runtime}"')


def _check_frames(model: Model, tasks: Sequence[Task]) -> Iterator[Problem]:
    """Require that a model with outputs in space says where they lie; other models need not."""
    in_space = [task.id for task in tasks if task.in_space]
    with_boxes = [task.id for task in tasks if task.has_boxes_3d]
    if in_space and model.frame is None:
        yield Problem("frame", f'is missing: the task "{in_space[0]}" has outputs in space; write "lidar" or "ego"')
    if with_boxes and model.box_convention is None:
        known = '"mmdet3d_0.17", "mmdet3d_1.0" or "standard"'
        yield Problem("box_convention", f'is missing: the task "{with_boxes[0]}" has 3D boxes; write {known}')


def _check_classes(model: Model, tasks: Sequence[Task]) -> Iterator[Problem]:
    for task in tasks:
        if task.lists_classes and not model.classes.get(task.id):
            yield Problem(
                f"classes.{task.id}", f'is missing: a model with the task "{task.id}" lists its classes, label 0 first'
            )
    for name, classes in model.classes.items():
        key = f"classes.{name}"
        if name not in model.tasks:
            yield Problem(key, f'must be absent: "{name}" is not among the tasks')
        for repeated in sorted({one for one in classes if classes.count(one) > 1}):
            yield Problem(key, f'names "{repeated}" twice')
        known = TASKS.get(name).class_names if name in TASKS else None
        for unknown in sorted(set(classes) - set(known)) if known is not None else ():
            yield Problem(key, f'names "{unknown}", which is none of {", ".join(known or ())}')


def _check_detection_2d(model: Model) -> Iterator[Problem]:
    """Refuse a threshold below `min_confidence`: the model gives no boxes there."""
    stated = model.detection_2d
    if stated is None:
        return
    if DETECTION_2D.id not in model.tasks:
        yield Problem("detection_2d", f'must be absent: "{DETECTION_2D.id}" is not among the tasks')
    if stated.operating_threshold < stated.min_confidence:
        yield Problem(
            "detection_2d.operating_threshold",
            f"must be at least min_confidence ({stated.min_confidence:g}), not {stated.operating_threshold:g}",
        )


def _check_checkpoints(model: Model) -> Iterator[Problem]:
    for name in sorted(model.moved.keys() & (model.configs.keys() | model.checkpoints.keys())):
        yield Problem(f"moved.{name}", "must be absent: this file still has a config or weights of that name")
    for name in model.not_runnable:
        yield from _one_of(f"not_runnable.{name}", name, model.configs, "a config")
    if model.default_checkpoint in model.checkpoints:
        usual = model.checkpoints[model.default_checkpoint].config
        if usual in model.not_runnable:
            yield Problem("default_checkpoint", f'must be one that runs, and its config "{usual}" is not_runnable')
    for name, checkpoint in model.checkpoints.items():
        key = f"checkpoints.{name}"
        yield from _one_of(f"{key}.config", checkpoint.config, model.configs, "a config")
        for fix in checkpoint.fixes:
            yield from _one_of(f"{key}.fixes", fix, model.fixes, "a fix")
        origins = (checkpoint.url, checkpoint.google_drive, checkpoint.npm, checkpoint.trained_by)
        if sum(one is not None for one in origins) != 1:
            yield Problem(key, "must have exactly one of url, google_drive, npm and trained_by")
        if checkpoint.trained_by is not None:
            if checkpoint.sha256 is not None:
                yield Problem(f"{key}.sha256", "must be absent: weights that are trained here differ by machine")
            continue
        if checkpoint.sha256 is None and checkpoint.sha256_from != "first download":
            yield Problem(f"{key}.sha256", 'is missing; if nobody published it, write sha256_from = "first download"')
        if checkpoint.sha256 is not None and checkpoint.sha256_from is None:
            yield Problem(f"{key}.sha256_from", 'is missing: who vouches for the hash, "publisher" or "first download"')


def _check_training(model: Model) -> Iterator[Problem]:
    training = model.training
    if training is None:
        return
    if training.trainer not in TRAINERS:
        yield Problem("training.trainer", f'must be one of {", ".join(TRAINERS.ids())}, not "{training.trainer}"')
    if training.config is not None:
        yield from _one_of("training.config", training.config, model.configs, "a config")
    if (training.total_batch is None) != (training.learning_rate is None):
        yield Problem("training.learning_rate", "must stand beside total_batch: a rate belongs to a batch")


def _check_protocols(model: Model) -> Iterator[Problem]:
    for index, protocol in enumerate(model.protocols):
        if protocol not in PROTOCOLS:
            yield Problem(f"protocols[{index}]", f'must be one of {", ".join(PROTOCOLS)}, not "{protocol}"')


def _check_claims(model: Model) -> Iterator[Problem]:
    for index, claim in enumerate(model.published):
        key = f"published[{index}]"
        if claim.protocol not in PROTOCOLS:
            yield Problem(f"{key}.protocol", f'must be one of {", ".join(PROTOCOLS)}, not "{claim.protocol}"')
        elif claim.metric not in PROTOCOLS[claim.protocol]:
            metrics = ", ".join(PROTOCOLS[claim.protocol])
            yield Problem(f"{key}.metric", f'must be a metric of {claim.protocol} ({metrics}), not "{claim.metric}"')
        if claim.protocol == LATENCY and claim.device is None:
            yield Problem(f"{key}.device", "is missing: frames per second mean nothing without the GPU")
        if (claim.checkpoint is None) == (claim.config is None):
            yield Problem(key, "must have exactly one of checkpoint and config")
        if claim.checkpoint is not None:
            yield from _one_of(f"{key}.checkpoint", claim.checkpoint, model.checkpoints, "a checkpoint")
        if claim.config is not None:
            yield from _one_of(f"{key}.config", claim.config, model.configs, "a config")
