"""What is checked before a training begins: memory, disk, the learning rate against the batch, the first weights."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from admlops.catalog import Model
from admlops.catalog.model import InitialWeights, Training
from admlops.checkpoints import inspect
from admlops.core.errors import CheckpointError, StorageError, UsageError
from admlops.core.storage import file_sha256
from admlops.health.devices import ComputeDevice
from admlops.training.header import Start
from admlops.worker.training.session import KEPT

RANDOM = "random"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found: `what` was looked at, and the facts in a sentence."""

    what: str
    text: str

    def facts(self) -> dict[str, str]:
        return asdict(self)


def check_memory(training: Training, devices: Sequence[ComputeDevice], free_bytes: int, *, smoke: bool) -> Finding:
    """Compare the machine's memory, and each GPU's, with what a process takes.

    Raises:
        StorageError: it is surely not enough.
    """
    needed = training.memory_mb * len(devices)
    if free_bytes < needed * 1e6:
        raise StorageError(
            f"training takes some {needed:.0f} MB of memory, and {free_bytes / 1e6:.0f} MB are free",
            hint="free -m   # end what else runs, or train with fewer --gpus",
        )
    small = next((one for one in devices if one.memory_mb and one.memory_mb < (training.gpu_memory_mb or 0)), None)
    if small is not None and not smoke:
        return Finding(
            what="memory",
            text=f"the authors' batch takes {training.gpu_memory_mb:.0f} MB of a GPU, and {small.id} has "
            f"{small.memory_mb:.0f} MB: pass a smaller --batch if it runs out",
        )
    return Finding(what="memory", text=f"{free_bytes / 1e6:.0f} MB free, at least {needed:.0f} MB needed")


def check_disk(training: Training, folder: Path, *, evaluates: bool) -> Finding:
    """Compare the disk with the checkpoints that stay on it: the newest, one being written, and the best.

    Raises:
        StorageError: they do not fit.
    """
    needed = training.checkpoint_mb * (KEPT + 1 + int(evaluates))
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free = shutil.disk_usage(there).free / 1e6
    if free < needed:
        raise StorageError(
            f"the checkpoints take {needed:.0f} MB, and the disk of {folder} has {free:.0f} MB free",
            hint=f"df -h {there}   # free some space, or export ADMLOPS_REP_PATH=/a/larger/disk",
        )
    return Finding(what="disk", text=f"{free:.0f} MB free, {needed:.0f} MB needed for checkpoints")


def choose_learning_rate(
    training: Training, *, asked: float | None, batch: int | None, processes: int
) -> tuple[float | None, Finding]:
    """Return the learning rate of this total batch: the authors' one in proportion, unless one is asked for.

    Proportion is the rule of Goyal et al., arXiv:1706.02677, which the authors' own --autoscale-lr applies.
    """
    if training.learning_rate is None or training.total_batch is None:
        return asked, Finding(what="learning rate", text="the program's own" if asked is None else f"{asked:g}, asked")
    own = training.total_batch // training.processes
    total = (batch or own) * processes
    scaled = training.learning_rate * total / training.total_batch
    of_theirs = f"the authors' {training.learning_rate:g} belongs to a batch of {training.total_batch}"
    if asked is None:
        return scaled, Finding(what="learning rate", text=f"{scaled:g} for a batch of {total}: {of_theirs}")
    factor = asked / scaled
    warning = "" if 0.5 <= factor <= 2 else f"; that is {factor:.2g} times the proportional {scaled:g}"
    return asked, Finding(what="learning rate", text=f"{asked:g} for a batch of {total}: {of_theirs}{warning}")


def check_initial_weights(
    model: Model, training: Training, folder: Path, config: str | None
) -> tuple[dict[str, str], list[Finding]]:
    """Return the files that the configuration's weights stand for, by the path that it names, hashed and inspected.

    Args:
        folder: where they lie: `checkpoints/<Model>/initial`.
        config: the configuration's path; weights that its text does not name are not asked for.

    Raises:
        CheckpointError: one is missing, would run code, or is another file than the published one.
    """
    if not training.initial_weights:
        return {}, []
    text = None if config is None else Path(config).read_text()
    files, findings = {}, []
    for one in training.initial_weights:
        if text is not None and one.file not in text:
            continue
        path = folder / Path(one.url).name
        if not path.is_file():
            raise CheckpointError(
                f"{model.name}'s training begins with {path.name}, which is not in {folder}",
                hint=f"curl -L --create-dirs -o {path} {one.url}   # or --from random, to try without",
            )
        sha256 = file_sha256(path)
        _check_hash(one, path, sha256)
        inspect(path)
        files[one.file] = str(path)
        findings.append(Finding(what="initial weights", text=f"{path.name}, sha256 {sha256}"))
    return files, findings


def _check_hash(one: InitialWeights, path: Path, sha256: str) -> None:
    wanted = one.sha256 or one.sha256_begins or ""
    if not sha256.startswith(wanted):
        raise CheckpointError(
            f"{path} is not the published file: its sha256 is {sha256}, and that one's begins {wanted}",
            hint=f"rm {path}   # and fetch it again from {one.url}",
        )


def describe_start(kind: str | None, name: str | None, sha256: str | None) -> Start:
    """What the header says of the first weights."""
    if kind == RANDOM:
        return Start(kind="random")
    if name is not None:
        return Start(kind="checkpoint", name=name, sha256=sha256)
    return Start(kind="authors")


def require_apart(training: Sequence[str], held_out: Sequence[str], split: str, other: str) -> None:
    """Raise UsageError where a scene is in both splits."""
    both = set(training) & set(held_out)
    if both:
        raise UsageError(
            f"{split} and {other} share {len(both)} scenes, such as {min(both)}",
            hint="pass two splits that share none: --split mini_train --held-out mini_val",
        )
