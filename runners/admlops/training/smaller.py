"""Making a network smaller: what is asked of a training with a teacher or with channels taken out, and checked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.catalog import Model
from admlops.catalog.model import Training
from admlops.checkpoints import Usable
from admlops.core.errors import UsageError
from admlops.training.preflight import RANDOM, Finding

TEMPERATURE, SOFT_SHARE = 4.0, 0.9
"""Hinton et al. (arXiv:1503.02531) try temperatures from 1 to 20, and give hard labels a considerably lower weight."""

FindWeights = Callable[[str], Usable]


@dataclass(frozen=True, kw_only=True)
class Smaller:
    """How a training makes its network smaller; empty for a usual one.

    `teacher_name` is what the person called the teacher. `prune` is the share of channels that goes.
    """

    teacher: Usable | None = None
    teacher_name: str | None = None
    temperature: float = TEMPERATURE
    soft_share: float = SOFT_SHARE
    prune: float | None = None

    def for_program(self) -> dict[str, Any]:
        """What the program's request holds."""
        if self.teacher is None:
            return {"teacher": None, "prune": self.prune}
        how = {"temperature": self.temperature, "soft_share": self.soft_share}
        return {"teacher": str(self.teacher.path), **how, "prune": self.prune}

    def facts(self) -> dict[str, Any]:
        """What is kept of it with the training and with its weights; empty for a usual one."""
        found: dict[str, Any] = {}
        if self.teacher is not None:
            found["teacher"] = {
                "name": self.teacher_name,
                "sha256": self.teacher.sha256,
                "temperature": self.temperature,
                "soft_share": self.soft_share,
            }
        if self.prune is not None:
            found["pruned"] = self.prune
        return found

    def findings(self) -> list[Finding]:
        """Describe it in sentences."""
        found = []
        if self.teacher is not None:
            text = f"{self.teacher_name}, temperature {self.temperature:g}, {self.soft_share:.0%} of the loss"
            found.append(Finding(what="teacher", text=text))
        if self.prune is not None:
            found.append(Finding(what="pruning", text=f"{self.prune:.0%} of each layer's channels go first"))
        return found


def choose_smaller(
    model: Model, training: Training, *, asked: Mapping[str, Any], start: str | None, find: FindWeights
) -> Smaller:
    """Check what is asked for, and find the teacher.

    Args:
        asked: `teacher`, `temperature`, `soft_share` and `prune`; None where nothing is said.
        start: what the training begins with, as `--from` says it.
        find: gives the weights of a name or a file.

    Raises:
        UsageError: the model's program cannot do it, or the options contradict each other.
        CheckpointError: the teacher cannot be used.
    """
    for option in ("teacher", "prune"):
        if asked[option] is not None and option not in training.smaller:
            raise UsageError(
                f"--{option}: the training program of {model.name} does not take it",
                hint="docs/smaller-models.md   # says which models do, and how a program takes it",
            )
    teacher = asked["teacher"]
    for option in ("temperature", "soft_share"):
        if asked[option] is not None and teacher is None:
            raise UsageError(f"--{option.replace('_', '-')} is for a --teacher", hint="add --teacher CHECKPOINT")
    if training.needs_teacher and teacher is None:
        raise UsageError(
            f"{model.name} learns from a teacher's outputs alone: no data set here has labels of all its classes",
            hint=f"add --teacher {model.default_checkpoint or 'CHECKPOINT'}",
        )
    if training.needs_teacher and asked["soft_share"] is not None:
        raise UsageError(f"--soft-share: {model.name} has no labels to share with", hint="leave it out")
    if asked["prune"] is not None and start in (None, RANDOM):
        raise UsageError(
            "--prune takes channels out of trained weights, and the training begins without any",
            hint="add --from CHECKPOINT",
        )
    return Smaller(
        teacher=None if teacher is None else find(teacher),
        teacher_name=teacher,
        temperature=_given(asked["temperature"], TEMPERATURE),
        soft_share=1.0 if training.needs_teacher else _given(asked["soft_share"], SOFT_SHARE),
        prune=asked["prune"],
    )


def _given(value: float | None, usual: float) -> float:
    return usual if value is None else value
