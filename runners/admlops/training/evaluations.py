"""Evaluating checkpoints while the training goes on: `admlops run` and `admlops evaluate`, in a process of their own.

The numbers are those that any run has. A checkpoint that comes while another is evaluated waits; of several that wait
the newest is taken.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from msgspec import Struct

from admlops.catalog import Model
from admlops.catalog.registries import EVALUATIONS
from admlops.core.paths import Layout
from admlops.core.types import Say
from admlops.execution.process import Program, SupervisedProcess
from admlops.execution.process_log import ProcessLog
from admlops.training.folder import Saved, TrainingFolder
from admlops.training.header import Best

GRACE_S = 5.0


class Deciding(Struct, frozen=True):
    """The metric by which the best checkpoint is chosen."""

    name: str
    protocol: str
    higher_is_better: bool

    def is_better(self, value: float, than: float) -> bool:
        return value > than if self.higher_is_better else value < than


class Evaluated(Struct, frozen=True):
    """One line of `evaluations.jsonl`. `value` is the deciding metric's; None where the evaluation failed."""

    iteration: int
    run: str
    value: float | None
    metrics: dict[str, float] = {}


def deciding_metric(model: Model) -> Deciding | None:
    """The first headline of the model's first task that has one; None for a task without."""
    for task in model.tasks:
        for one in EVALUATIONS.values():
            if one.task == task and one.headlines and not one.on_request:
                name = next(iter(one.headlines))
                higher = next((spec.higher_is_better for spec in one.metrics if spec.covers(name)), True)
                return Deciding(name=name, protocol=one.protocol, higher_is_better=higher)
    return None


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """How checkpoints are run: on which data, with which configuration, on which device."""

    model: str
    data: Path
    version: str
    split: str
    config: str | None
    variant: str | None
    device: str
    tokens: Path | None = None


@dataclass
class CheckpointEvaluator:
    """Evaluates one checkpoint at a time; `attend` starts it, checks it and takes its result."""

    layout: Layout
    folder: TrainingFolder
    request: EvaluationRequest
    deciding: Deciding
    say: Say
    on_result: Callable[[Evaluated], None]
    _waiting: Saved | None = None
    _running: tuple[Saved, SupervisedProcess, list[Sequence[str]]] | None = None
    _linked: dict[int, Path] = field(default_factory=dict)

    def add(self, saved: Saved) -> None:
        """Evaluate a checkpoint when it is its turn; its file is kept until then, by a second name."""
        kept = saved.weights.with_name(f"evaluating-{saved.iteration}.pth")
        kept.unlink(missing_ok=True)
        os.link(saved.weights, kept)
        if self._waiting is not None:
            self.say(f"iteration {self._waiting.iteration} is not evaluated: a newer checkpoint came meanwhile")
            self._drop(self._waiting)
        self._waiting = Saved(iteration=saved.iteration, weights=kept, state=saved.state)

    @property
    def is_busy(self) -> bool:
        return self._running is not None or self._waiting is not None

    def attend(self) -> None:
        """Go on with the evaluation that runs, or begin the next."""
        if self._running is not None and self._running[1].has_ended():
            self._advance()
        if self._running is None and self._waiting is not None:
            saved, self._waiting = self._waiting, None
            first, *rest = self._commands(saved)
            self._running = saved, self._start(first, saved), rest

    def forget(self) -> None:
        """Leave out the checkpoint that waits for its turn."""
        if self._waiting is not None:
            self._drop(self._waiting)
        self._waiting = None

    def stop(self) -> None:
        """End what runs; nothing waits any more."""
        self.forget()
        if self._running is not None:
            saved, process, _ = self._running
            process.stop(grace_s=0.0)
            self._drop(saved)
        self._running = None

    def _advance(self) -> None:
        assert self._running is not None
        saved, process, rest = self._running
        code = process.stop(grace_s=GRACE_S).exit_code
        if code == 0 and rest:
            self._running = saved, self._start(rest[0], saved), rest[1:]
            return
        self._running = None  # before the result is told: it may end what waits
        if code != 0:
            self.say(f"the evaluation of iteration {saved.iteration} failed: {self._log.path} has what it said")
        self._take(saved, is_done=code == 0)

    def _take(self, saved: Saved, *, is_done: bool) -> None:
        run = self._run_name(saved)
        metrics: dict[str, float] = {}
        if is_done:
            content = json.loads((self.layout.runs / run / "metrics.json").read_bytes())
            own = [one for one in content["metrics"] if one["protocol"] == self.deciding.protocol]
            metrics = {one["name"]: one["value"] for one in own if one["value"] is not None}
        found = Evaluated(iteration=saved.iteration, run=run, value=metrics.get(self.deciding.name), metrics=metrics)
        with self.folder.evaluations.open("ab") as file:
            file.write(msgspec.json.encode(found) + b"\n")
        self._keep_if_best(saved, found)
        self._drop(saved)
        self.on_result(found)

    def _keep_if_best(self, saved: Saved, found: Evaluated) -> None:
        best = self.folder.header().best
        if found.value is None or (best is not None and not self.deciding.is_better(found.value, best.value)):
            return
        beside = self.folder.best.with_suffix(".new")
        beside.unlink(missing_ok=True)
        os.link(saved.weights, beside)
        beside.replace(self.folder.best)
        header = self.folder.header()
        now = Best(
            iteration=saved.iteration,
            metric=self.deciding.name,
            protocol=self.deciding.protocol,
            value=found.value,
        )
        self.folder.write_header(msgspec.structs.replace(header, best=now))

    def _drop(self, saved: Saved) -> None:
        saved.weights.unlink(missing_ok=True)

    def _run_name(self, saved: Saved) -> str:
        return f"{self.folder.path.name}-{saved.iteration}"

    def _commands(self, saved: Saved) -> list[Sequence[str]]:
        asked, name = self.request, self._run_name(saved)
        which = ("--split", asked.split) if asked.tokens is None else ("--tokens", str(asked.tokens))
        where = ("--data", str(asked.data), "--version", asked.version, *which)
        run = ["run", asked.model, "--checkpoint", str(saved.weights), *where, "--run", name]
        run += ["--devices", asked.device]
        run += ["--config", asked.config] if asked.config is not None else []
        run += ["--variant", asked.variant] if asked.variant is not None else []
        program = [sys.executable, "-m", "admlops"]
        return [[*program, *run], [*program, "evaluate", name]]

    @property
    def _log(self) -> ProcessLog:
        return ProcessLog(self.folder.path / "logs" / "evaluations.log")

    def _start(self, command: Sequence[str], saved: Saved) -> SupervisedProcess:
        program = Program(arguments=command, cwd=self.folder.path, variables=dict(os.environ))
        return SupervisedProcess(program, log=self._log, title=f"iteration {saved.iteration}: {' '.join(command[3:5])}")


def read_evaluations(folder: TrainingFolder) -> list[Evaluated]:
    """Every evaluated checkpoint, in the order in which they were evaluated."""
    if not folder.evaluations.exists():
        return []
    return [msgspec.json.decode(line, type=Evaluated) for line in folder.evaluations.read_bytes().splitlines()]


def count_without_gain(found: Sequence[Evaluated], best: Best | None) -> int:
    """Count the evaluated checkpoints with a value that came after the best one; 0 where none is best."""
    if best is None:
        return 0
    return sum(one.iteration > best.iteration and one.value is not None for one in found)
