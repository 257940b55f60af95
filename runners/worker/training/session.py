"""One training, as its program sees it: what to train for, what to tell, when to save and when to stop.

The host gives `request["training"]`:

    {"folder": "/…/trainings/NAME", "iterations": N or null, "epochs": N or null, "checkpoint_every": N or null,
     "seed": 0, "batch": N or null, "learning_rate": x or null, "start": {"random": true} | {"weights": FILE} | null,
     "resume": null | {"iteration": N, "weights": FILE, "state": FILE}, "config": FILE or null,
     "smoke_settings": {variable: value}, "smoke": false, "teacher": FILE or null, "temperature": x, "soft_share": x,
     "prune": x or null}

The program appends lines to `log.jsonl` of the folder; each is an object with `kind` and `t` [s since 1970]:

    begin       iteration (where it begins), iterations, per_epoch, batch, processes, libraries
    iteration   iteration (from 1), epoch (from 1), loss, losses {name: value}, grad_norm, learning_rate, time_s,
                data_time_s, memory_mb (of the GPU); what is not known or not finite is null
    checkpoint  iteration, weights, state: files relative to the folder
    note        text
    end         iteration, reason: complete, or why it stopped

It stops after the iteration in which a TERM comes or in which the file `stop` of the folder appears; its first line is
the reason.
"""

import json
import math
import os
import signal
import time
from typing import Any, Callable, Dict, List, Mapping, NamedTuple, Optional

from .distillation import Distillation

LOG, STOP, CHECKPOINTS, CONFIG = "log.jsonl", "stop", "checkpoints", "config.json"
COMPLETE, STOPPED, TERMINATED = "complete", "it was stopped", "TERM came"
WEIGHTS, STATE_SUFFIX = "iteration-{:07d}.pth", ".state.pth"
STATE, RANK = "iteration-{:07d}" + STATE_SUFFIX, ".rank{}"
KEPT = 2
"""How many of the newest checkpoints stay: the last may be damaged where the machine went down."""


class DivergedError(ValueError):
    """The loss is no number any more."""


class Resume(NamedTuple):
    """The checkpoint that a training goes on from: iterations done, and its two files."""

    iteration: int
    weights: str
    state: str


class Session:
    """One training. Of several processes the first alone writes; all of them stop together if `agree` makes them."""

    def __init__(self, request: Mapping[str, Any], *, agree: Callable[[bool], bool] = bool) -> None:
        given = request["training"]
        self.folder: str = given["folder"]
        self.seed = int(given.get("seed") or 0)
        self.iterations: Optional[int] = given.get("iterations")
        self.epochs: Optional[int] = given.get("epochs")
        self.batch: Optional[int] = given.get("batch")
        self.learning_rate: Optional[float] = given.get("learning_rate")
        self.start: Mapping[str, Any] = given.get("start") or {}
        self.config: Optional[str] = given.get("config")
        self.is_smoke = bool(given.get("smoke"))
        self.smoke_settings: Mapping[str, Any] = given.get("smoke_settings") or {}
        self.config_epochs: Optional[int] = None
        self.prune: Optional[float] = given.get("prune")
        self.distillation: Optional[Distillation] = None
        if given.get("teacher"):
            self.distillation = Distillation(given["teacher"], given["temperature"], given["soft_share"])
        self.resume = None if given.get("resume") is None else Resume(**given["resume"])
        self.rank = int(os.environ.get("RANK", "0"))
        self._every: Optional[int] = given.get("checkpoint_every")
        self._agree = agree
        self._total = 0
        self._saved = 0
        self._terminated = False
        signal.signal(signal.SIGTERM, self._terminate)

    def begin(
        self, *, iterations: int, per_epoch: int, batch: int, processes: int, libraries: Mapping[str, str]
    ) -> None:
        """Say how long the training is: `iterations` in all, those before a resume included."""
        self._total = iterations
        self._saved = self.resume.iteration if self.resume else 0
        self._tell(
            "begin",
            iteration=self._saved,
            iterations=iterations,
            per_epoch=per_epoch,
            batch=batch,
            processes=processes,
            libraries=dict(libraries),
        )

    def tell_iteration(
        self,
        iteration: int,
        *,
        epoch: int,
        loss: float,
        losses: Optional[Mapping[str, float]] = None,
        grad_norm: Optional[float] = None,
        learning_rate: Optional[float] = None,
        time_s: Optional[float] = None,
        data_time_s: Optional[float] = None,
        memory_mb: Optional[float] = None,
    ) -> None:
        """Tell of an iteration, counted from 1. Raises DivergedError where its loss is not finite."""
        self._tell(
            "iteration",
            iteration=iteration,
            epoch=epoch,
            loss=_finite(loss),
            losses={name: _finite(value) for name, value in (losses or {}).items()},
            grad_norm=_finite(grad_norm),
            learning_rate=_finite(learning_rate),
            time_s=_finite(time_s),
            data_time_s=_finite(data_time_s),
            memory_mb=_finite(memory_mb),
        )
        if not math.isfinite(loss):
            raise DivergedError(
                "the loss of iteration {} is {}; try a lower --learning-rate, or --resume from an earlier "
                "checkpoint".format(iteration, loss)
            )

    def keep_config(self, facts: Mapping[str, Any]) -> None:
        """Keep the configuration of the network that is trained, for the weights to be registered with it."""
        if not self.rank:
            with open(os.path.join(self.folder, CONFIG), "w", encoding="utf-8") as file:
                file.write(json.dumps(facts) + "\n")

    def note(self, text: str) -> None:
        """Tell a person something that they should know of this training."""
        self._tell("note", text=text)

    def reason_to_stop(self, iteration: int) -> Optional[str]:
        """Return why the training ends after this iteration, None if it goes on."""
        if iteration >= self._total:
            return COMPLETE
        path = os.path.join(self.folder, STOP)
        asked = self._terminated or os.path.exists(path)
        if not self._agree(asked):
            return None
        try:
            with open(path, encoding="utf-8") as file:
                return file.readline().strip() or TERMINATED
        except OSError:
            return TERMINATED

    def is_due(self, iteration: int) -> bool:
        """Tell whether a checkpoint is to be saved after this iteration, apart from the last one."""
        return self._every is not None and iteration % self._every == 0

    def save(self, iteration: int, write_weights: Callable[[str], None], write_state: Callable[[str], None]) -> None:
        """Save a checkpoint, unless this one is saved already: two files, each there whole or not at all.

        Both functions write the file whose path they are given. Older ones go.
        """
        if iteration == self._saved:
            return
        self._saved = iteration
        folder = os.path.join(self.folder, CHECKPOINTS)
        os.makedirs(folder, exist_ok=True)
        state = os.path.join(folder, STATE.format(iteration))
        if self.rank:
            _write_whole(state + RANK.format(self.rank), write_state)
            return
        weights = os.path.join(folder, WEIGHTS.format(iteration))
        _write_whole(weights, write_weights)
        _write_whole(state, write_state)
        files = {"weights": weights, "state": state}
        self._tell(
            "checkpoint",
            iteration=iteration,
            **{kind: os.path.relpath(path, self.folder) for kind, path in files.items()},
        )
        self._prune(folder)

    def state_of_rank(self) -> str:
        """The path of this process's own state, of the checkpoint that is resumed."""
        assert self.resume is not None
        return self.resume.state + (RANK.format(self.rank) if self.rank else "")

    def end(self, iteration: int, reason: str) -> Dict[str, Any]:
        """Say that the training has ended, and return what a job answers."""
        self._tell("end", iteration=iteration, reason=reason)
        return {"iteration": iteration, "reason": reason}

    @staticmethod
    def _prune(folder: str) -> None:
        """Remove all but the newest checkpoints, each with the states of all processes."""
        begins = sorted(name.partition(".")[0] for name in os.listdir(folder) if name.endswith(STATE_SUFFIX))
        for name in os.listdir(folder):
            if name.partition(".")[0] in begins[:-KEPT]:
                os.remove(os.path.join(folder, name))

    def _tell(self, kind: str, **facts: Any) -> None:
        if self.rank:
            return
        line = json.dumps({"kind": kind, "t": round(time.time(), 3), **facts}, allow_nan=False) + "\n"
        descriptor = os.open(os.path.join(self.folder, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)

    def _terminate(self, _number: int, _frame: Any) -> None:
        self._terminated = True


def pick_batches(items: List[Any], size: int) -> List[List[Any]]:
    """Cut a list into batches; what is left over at the end is no batch, unless it is all there is."""
    whole = [items[start : start + size] for start in range(0, len(items) - size + 1, size)]
    return whole or [items]


def _write_whole(path: str, write: Callable[[str], None]) -> None:
    write(path + ".part")
    os.replace(path + ".part", path)


def _finite(value: Optional[float]) -> Optional[float]:
    return None if value is None or not math.isfinite(value) else float(value)
