"""`log.jsonl` of a training, as its program writes it: reading, following, cutting back, summing up.

`worker.training.session` says what a line holds.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from admlops.core.storage import write_atomically

RECENT = 20
"""The iterations that speed and the time left are estimated from: the first ones also warm up."""


class Line(Struct, frozen=True):
    """One line. What its kind does not have is None or empty."""

    kind: str
    t: float
    iteration: int = 0
    iterations: int = 0
    per_epoch: int = 0
    batch: int = 0
    processes: int = 1
    libraries: dict[str, str] = {}
    epoch: int = 0
    loss: float | None = None
    losses: dict[str, float | None] = {}
    grad_norm: float | None = None
    learning_rate: float | None = None
    time_s: float | None = None
    data_time_s: float | None = None
    memory_mb: float | None = None
    weights: str = ""
    state: str = ""
    text: str = ""
    reason: str = ""


REQUIRED = ("kind", "t")
OF_ITERATIONS = ("epoch", "loss", "losses", "grad_norm", "learning_rate", "time_s", "data_time_s", "memory_mb")
"""What the line of an iteration has, known or null."""
_DECODER = msgspec.json.Decoder(Line)


def read_lines(path: Path) -> list[Line]:
    """Every whole line; one that was being written when the machine went down is left out."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    return [line for line in map(_decode, content.split(b"\n")) if line is not None]


def _decode(line: bytes) -> Line | None:
    try:
        return _DECODER.decode(line)
    except msgspec.DecodeError:
        return None


class Follower:
    """Gives the lines that were written since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0
        self._rest = b""

    def new_lines(self) -> Iterator[Line]:
        """Give the whole lines that are new."""
        if not self._path.exists():
            return
        with self._path.open("rb") as file:
            file.seek(self._at)
            *lines, self._rest = (self._rest + file.read()).split(b"\n")
            self._at = file.tell()
        yield from (line for line in map(_decode, lines) if line is not None)


def cut_back(path: Path, iteration: int) -> int:
    """Drop the lines of iterations after `iteration`, which a resume does again; returns how many those were."""
    lines = read_lines(path)
    kept = [line for line in lines if line.kind == "note" or line.iteration <= iteration]
    write_atomically(path, b"".join(_encode(line) + b"\n" for line in kept))
    return sum(line.kind == "iteration" for line in lines) - sum(line.kind == "iteration" for line in kept)


def _encode(line: Line) -> bytes:
    facts = msgspec.to_builtins(line)
    kept = (*REQUIRED, *OF_ITERATIONS) if line.kind == "iteration" else REQUIRED
    empty = msgspec.to_builtins(Line(kind="", t=0.0))
    return msgspec.json.encode({key: value for key, value in facts.items() if value != empty[key] or key in kept})


@dataclass
class Meter:
    """How far a training is: fed with lines, asked for speed and the time that is left."""

    iterations: int = 0
    processes: int = 1
    batch: int = 0
    last: Line | None = None
    _times: list[float] = field(default_factory=list)
    _waits: list[float] = field(default_factory=list)

    def take(self, line: Line) -> None:
        """Take a line of the log."""
        if line.kind == "begin":
            self.iterations, self.processes, self.batch = line.iterations, line.processes, line.batch
        elif line.kind == "iteration":
            self.last = line
            self._times = [*self._times, line.time_s or 0.0][-RECENT:]
            self._waits = [*self._waits, line.data_time_s or 0.0][-RECENT:]

    @property
    def seconds_an_iteration(self) -> float | None:
        """The median of the last iterations [s]."""
        return statistics.median(self._times) if self._times else None

    @property
    def samples_per_s(self) -> float | None:
        """Samples per second of all processes together."""
        seconds = self.seconds_an_iteration
        return self.batch * self.processes / seconds if seconds else None

    @property
    def data_share(self) -> float | None:
        """The share of the time in which the network waits for data."""
        total = sum(self._times)
        return sum(self._waits) / total if total else None

    @property
    def left_s(self) -> float | None:
        """The time that the remaining iterations take [s]."""
        seconds = self.seconds_an_iteration
        if seconds is None or self.last is None:
            return None
        return seconds * (self.iterations - self.last.iteration)


def summarise(lines: Sequence[Line]) -> dict[str, Any]:
    """Sum up a log: the first and the last loss, the lowest one, and the median speed."""
    told = [line for line in lines if line.kind == "iteration"]
    losses = [line.loss for line in told if line.loss is not None]
    times = [line.time_s for line in told if line.time_s is not None]
    return {
        "iterations": told[-1].iteration if told else 0,
        "first_loss": losses[0] if losses else None,
        "last_loss": losses[-1] if losses else None,
        "lowest_loss": min(losses, default=None),
        "seconds_an_iteration": statistics.median(times) if times else None,
        "resumes": max(0, sum(line.kind == "begin" for line in lines) - 1),
    }
