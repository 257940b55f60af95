"""What a person asks of a training, and what a resume repeats of it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from admlops.core.errors import UsageError
from admlops.execution.cancel import CancelToken

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")
REPEATED = (
    *("data", "version", "split", "held_out", "config", "variant", "device", "gpus", "seed", "epochs", "iterations"),
    *("batch", "learning_rate", "start", "checkpoint_every", "evaluate_every", "patience", "smoke"),
    *("teacher", "temperature", "soft_share", "prune"),
)
"""The options that a resume takes over."""
CHANGEABLE = ("data", "device", "epochs", "iterations", "checkpoint_every", "evaluate_every", "patience")
"""Those that may be given anew: none of them changes what was trained so far."""


@dataclass(frozen=True, kw_only=True)
class TrainRequest:
    """One training. What is None is the trainer's or the authors' own.

    `start` is `random`, the name of weights or their file; None begins as the authors do. `batch` counts samples of one
    GPU. `resume` names the training that goes on. `teacher` is the name of weights, or their file, whose outputs are
    learnt at `temperature`; `soft_share` of the loss is theirs. `prune` is the share of channels that is taken out of
    the weights of `start` first.
    """

    model: str
    data: Path | None = None
    version: str | None = None
    split: str | None = None
    held_out: str | None = None
    config: str | None = None
    variant: str | None = None
    device: str = "auto"
    gpus: int | None = None
    seed: int = 0
    epochs: int | None = None
    iterations: int | None = None
    batch: int | None = None
    learning_rate: float | None = None
    start: str | None = None
    name: str | None = None
    resume: str | None = None
    checkpoint_every: int | None = None
    evaluate_every: int | None = None
    patience: int | None = None
    smoke: bool = False
    teacher: str | None = None
    temperature: float | None = None
    soft_share: float | None = None
    prune: float | None = None
    cancel: CancelToken = field(default_factory=CancelToken)

    def __post_init__(self) -> None:
        if self.name is not None and not NAME.fullmatch(self.name):
            raise UsageError(
                f"--name {self.name!r} cannot be one: letters, digits and . _ - are", hint="--name first-try"
            )
        if self.epochs is not None and self.iterations is not None:
            raise UsageError("--epochs and --iterations exclude each other", hint="pass one of the two")
        if self.patience is not None and self.evaluate_every is None and self.resume is None:
            raise UsageError(
                "--patience counts evaluated checkpoints, and none is evaluated", hint="add --evaluate-every 1000"
            )
        if self.resume is not None and self.name is not None:
            raise UsageError("--name is for a new training, and --resume goes on with an old one", hint="leave it out")

    def asked(self) -> dict[str, Any]:
        """What a resume repeats, as JSON."""
        values = {name: getattr(self, name) for name in REPEATED}
        return {name: str(value) if isinstance(value, Path) else value for name, value in values.items()}

    def repeating(self, asked: Mapping[str, Any]) -> TrainRequest:
        """Return the request of a resume: as it was, but for what may be given anew.

        Raises:
            UsageError: something is given that a resume cannot change.
        """
        usual = {one.name: one.default for one in fields(self)}
        given = {name for name in REPEATED if getattr(self, name) != usual[name]}
        for name in sorted(given - set(CHANGEABLE)):
            if getattr(self, name) != asked.get(name):
                raise UsageError(
                    f"--resume {self.resume} was begun with {name} {asked.get(name)}, which cannot change now",
                    hint="leave the option out, or begin a new training --from its checkpoint",
                )
        kept = {name: value for name, value in asked.items() if name not in given}
        if {"epochs", "iterations"} & given:
            kept = {name: value for name, value in kept.items() if name not in ("epochs", "iterations")}
        if kept.get("data") is not None:
            kept["data"] = Path(kept["data"])
        return replace(self, **kept)
