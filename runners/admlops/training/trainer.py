"""What a trainer is: it says which program trains a model, and prepares what that program reads.

To add one, write a module with an object that has these members, and register it in `catalog.registries.TRAINERS`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from admlops.catalog import Model
from admlops.catalog.model import Training
from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.datasets.base import Dataset, Scene
from admlops.execution.cancel import CancelToken
from admlops.execution.worker import WorkerCommand


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a training is prepared: the model, its environment's command, and the samples."""

    layout: Layout
    model: Model
    training: Training
    command: WorkerCommand
    data: Dataset
    split: str
    scenes: Sequence[Scene]
    held_out: Sequence[Scene]
    config: str | None
    settings: Mapping[str, Any]
    cancel: CancelToken

    @property
    def name(self) -> str:
        return self.model.name


class Trainer(Protocol):
    """How models of one kind are trained."""

    @property
    def id(self) -> str:
        """The id that `[training]` of a model names."""

    @property
    def takes_processes(self) -> bool:
        """Tell whether it trains on several GPUs at once."""

    def program(self, layout: Layout, model: Model) -> Path:
        """The program that trains, run as a job in the model's environment; `worker.training.session` is its form."""

    def prepare(self, place: Place, *, say: Say) -> dict[str, Any]:
        """Make what the program reads, and return what its request holds beside `training`.

        Raises:
            AdmlopsError: the data lack what it needs.
        """


def training_of(model: Model) -> Training:
    """How a model is trained. Raises UsageError: its catalogue entry does not say."""
    if model.training is None:
        raise UsageError(
            f"{model.name} has no trainer: its model.toml has no [training] table",
            hint="docs/training.md   # lists the models that train, and how to add one",
        )
    return model.training


def own_program(model: Model) -> Path:
    """The training program in the model's folder."""
    return model.folder / (training_of(model).program or "train.py")
