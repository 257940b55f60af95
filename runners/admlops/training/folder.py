"""The folder of a training: its header, its log, its checkpoints.

```
trainings/<name>/
    training.json                       the header; `state` is running, complete, stopped or failed
    log.jsonl                           one line an iteration, checkpoint or note (worker.training.session)
    config.py, config.json              the configuration as it was trained, of models that have one
    checkpoints/iteration-0000100.pth   weights; beside it .state.pth, all that a resume needs; the newest two
    checkpoints/best.pth                the weights with the best value so far, with --evaluate-every
    evaluations.jsonl                   one line an evaluated checkpoint: iteration, run, metrics
    logs/                               what the program said, and the evaluations
    report.html                         the curves
    stop                                there while the training is asked to end; its first line says why
    training.lock                       held while a process trains
```
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from admlops.core.errors import RecordError, UsageError
from admlops.core.file_lock import hold
from admlops.core.paths import Layout
from admlops.core.storage import explain_os_error, write_atomically
from admlops.training.header import SCHEMA_VERSION, TrainingHeader
from admlops.training.log import read_lines
from admlops.worker.training.session import CHECKPOINTS, CONFIG, LOG, STOP

HEADER = "training.json"


@dataclass(frozen=True, kw_only=True)
class Saved:
    """A checkpoint with its two files, both there."""

    iteration: int
    weights: Path
    state: Path


class TrainingFolder:
    """One training on disk."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def create(cls, path: Path, header: TrainingHeader) -> TrainingFolder:
        """Make the folder. Raises UsageError: there is one of that name."""
        folder = cls(path)
        try:
            path.mkdir(parents=True)
        except FileExistsError as error:
            raise UsageError(
                f"there is a training {path.name} already", hint="choose another --name, or pass --resume to go on"
            ) from error
        except OSError as error:
            raise explain_os_error(error, path) from error
        folder.write_header(header)
        return folder

    @property
    def log(self) -> Path:
        return self.path / LOG

    @property
    def program_log(self) -> Path:
        return self.path / "logs" / "trainer.log"

    @property
    def evaluations(self) -> Path:
        return self.path / "evaluations.jsonl"

    @property
    def best(self) -> Path:
        return self.path / CHECKPOINTS / "best.pth"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def config(self) -> Path:
        """The configuration as it was trained; there is none of some models."""
        own = self.path / CONFIG
        return own if own.is_file() else self.path / "config.py"

    def header(self) -> TrainingHeader:
        """Read the header. Raises RecordError: it is missing, damaged or of a newer version."""
        file = self.path / HEADER
        try:
            header = msgspec.json.decode(file.read_bytes(), type=TrainingHeader)
        except FileNotFoundError as error:
            raise RecordError(f"{file} is missing", hint=f"ls {self.path.parent}") from error
        except msgspec.DecodeError as error:
            raise RecordError(f"{file} is damaged: {error}", hint=f"ls {self.path.parent}") from error
        if header.schema > SCHEMA_VERSION:
            raise RecordError(f"{file} has the newer schema {header.schema}", hint="git pull && make bootstrap")
        return header

    def write_header(self, header: TrainingHeader) -> None:
        """Write the header, in one piece."""
        write_atomically(self.path / HEADER, msgspec.json.format(msgspec.json.encode(header), indent=1) + b"\n")

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder: one process trains in it. Raises StorageError: another one does."""
        with hold(self.path / "training.lock", what=f"training {self.path.name}", say=lambda _: None, timeout_s=0):
            yield

    def ask_to_stop(self, reason: str) -> None:
        """Ask the program to end after the iteration that it is at."""
        write_atomically(self.path / STOP, f"{reason}\n".encode())

    def allow(self) -> None:
        """Withdraw the request to end."""
        (self.path / STOP).unlink(missing_ok=True)

    def last_saved(self) -> Saved | None:
        """The newest checkpoint whose two files are there, by the log; None before the first."""
        for line in reversed(read_lines(self.log)):
            if line.kind == "checkpoint":
                weights, state = self.path / line.weights, self.path / line.state
                if weights.is_file() and state.is_file():
                    return Saved(iteration=line.iteration, weights=weights, state=state)
        return None


def trainings_folder(layout: Layout) -> Path:
    """Where trainings lie: beside the runs."""
    return layout.repository / "trainings"


def find_training(layout: Layout, name: str) -> TrainingFolder:
    """The training of that name. Raises UsageError: there is none."""
    folder = trainings_folder(layout) / name
    if "/" in name or not (folder / HEADER).is_file():
        known = sorted(one.parent.name for one in trainings_folder(layout).glob(f"*/{HEADER}"))
        raise UsageError(
            f"there is no training {name}; there are: {', '.join(known[-5:]) or 'none'}",
            hint=f"ls {trainings_folder(layout)}",
        )
    return TrainingFolder(folder)


def new_name(model: str) -> str:
    """A name as runs have it: the model, the time, and six digits that make it unique."""
    return f"{model}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
