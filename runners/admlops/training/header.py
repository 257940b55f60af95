"""The header of a training: what was asked, of which model, on which data, by which code, and how far it is."""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

SCHEMA_VERSION: Literal[1] = 1
State = Literal["running", "complete", "stopped", "failed"]
"""`running` also stands in the folder of a training that was killed; all but `complete` can be resumed."""


class TrainingData(Struct, frozen=True, forbid_unknown_fields=True):
    """The samples that a network is trained on, and the split that its checkpoints are evaluated on.

    `labels` has the sha256 of each file of class labels by task.
    """

    root: str
    kind: str
    version: str
    split: str
    held_out: str
    samples: int
    samples_sha256: str
    labels: dict[str, str] = {}


class Start(Struct, frozen=True, forbid_unknown_fields=True):
    """What the weights were before: `random`, `authors` (what the configuration names), or `checkpoint`, the parent."""

    kind: Literal["random", "authors", "checkpoint"]
    name: str | None = None
    sha256: str | None = None


class Best(Struct, frozen=True, forbid_unknown_fields=True):
    """The checkpoint with the best value of the metric that decides."""

    iteration: int
    metric: str
    protocol: str
    value: float


class Registered(Struct, frozen=True, forbid_unknown_fields=True):
    """The weights in the checkpoint store, once the training was complete."""

    name: str
    file: str
    sha256: str


class TrainingHeader(Struct, frozen=True, forbid_unknown_fields=True):
    """One training. `settings` are those in force, `asked` the person's options that a resume repeats."""

    name: str
    model: str
    variant: str
    trainer: str
    state: State
    created: str
    asked: dict[str, Any]
    settings: dict[str, Any]
    data: TrainingData
    start: Start
    device: str
    processes: int
    environment: str
    commit: str | None
    sources: dict[str, str]
    findings: list[dict[str, str]] = []
    iteration: int = 0
    reason: str | None = None
    best: Best | None = None
    registered: Registered | None = None
    schema: int = SCHEMA_VERSION

    @property
    def resume_command(self) -> str:
        """The command that goes on with it."""
        return f"admlops train {self.model} --resume {self.name}"
