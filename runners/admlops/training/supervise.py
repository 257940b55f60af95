"""One training at work: its program as a job, its log followed, its checkpoints evaluated, its end written down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from admlops.core.errors import AdmlopsError, StoppedError
from admlops.core.types import Say
from admlops.execution.cancel import CancelToken
from admlops.execution.job_process import JobRequest, run_job
from admlops.execution.worker import WorkerCommand
from admlops.training.evaluations import CheckpointEvaluator, Evaluated, count_without_gain, read_evaluations
from admlops.training.folder import Saved, TrainingFolder
from admlops.training.header import State
from admlops.training.log import Follower, Line, Meter
from admlops.worker.training.session import COMPLETE, STOPPED

ENDING_S = 900.0
"""How long a program may take to save its checkpoint when it is asked to end: an iteration, and gigabytes to a disk."""
TICK_S = 0.2
NO_GAIN = "no gain"

OnLine = Callable[[Line, Meter], None]


@dataclass(frozen=True, kw_only=True)
class Work:
    """What the program is started with. `launcher` starts several processes; empty for one."""

    model: str
    command: WorkerCommand
    program: Path
    settings: Mapping[str, Any]
    request: Mapping[str, Any]
    launcher: tuple[str, ...] = ()
    patience: int | None = None
    cancel: CancelToken = field(default_factory=CancelToken)


def supervise(
    folder: TrainingFolder,
    work: Work,
    *,
    evaluator: CheckpointEvaluator | None,
    evaluate_every: int | None,
    on_line: OnLine,
    say: Say,
) -> dict[str, Any]:
    """Train until the end; returns what the program answers.

    Raises:
        StoppedError: it was asked to stop; the last checkpoint is there.
        AdmlopsError: the program failed, or an input of it is wrong; the hint says how it goes on.
    """
    folder.allow()
    watch = _Watch(folder, work, evaluator, evaluate_every, on_line, say)
    try:
        answer = run_job(
            JobRequest(
                model=work.model,
                title=f"training {work.model}",
                command=work.command,
                program=work.program,
                settings=work.settings,
                request=work.request,
                log=folder.program_log,
                cancel=work.cancel,
                launcher=work.launcher,
                attend=watch.attend,
                ask_to_end=lambda: folder.ask_to_stop(STOPPED),
                ending_s=ENDING_S,
            ),
            say=say,
        )
        watch.attend()
        watch.finish()
    except StoppedError as error:
        _write_end(folder, "stopped", watch.meter, STOPPED)
        raise _explain_stop(folder, watch.meter) from error
    except AdmlopsError as error:
        _write_end(folder, "failed", watch.meter, error.message)
        error.hint = _failed_hint(folder, error)
        raise
    finally:
        if evaluator is not None:
            evaluator.stop()
        folder.allow()
    reason = str(answer["reason"])
    if reason not in (COMPLETE, NO_GAIN):
        _write_end(folder, "stopped", watch.meter, reason)
        raise _explain_stop(folder, watch.meter)
    _write_end(folder, "complete", watch.meter, reason)
    return answer


class _Watch:
    """Follows the log, hands checkpoints to the evaluator, and stops what no longer gains."""

    def __init__(
        self,
        folder: TrainingFolder,
        work: Work,
        evaluator: CheckpointEvaluator | None,
        evaluate_every: int | None,
        on_line: OnLine,
        say: Say,
    ) -> None:
        self.meter = Meter()
        self._folder, self._work, self._evaluator = folder, work, evaluator
        self._every, self._on_line, self._say = evaluate_every, on_line, say
        self._follower = Follower(folder.log)
        self._is_enough = False
        if evaluator is not None:
            evaluator.on_result = self._take

    def attend(self) -> None:
        for line in self._follower.new_lines():
            self.meter.take(line)
            self._on_line(line, self.meter)
            if line.kind == "checkpoint" and self._is_due(line.iteration):
                self._evaluate(line)
        if self._evaluator is not None:
            self._evaluator.attend()

    def finish(self) -> None:
        """Wait for the evaluations that are under way, unless the person cancels."""
        cancel = self._work.cancel
        with cancel.watched():
            while self._evaluator is not None and self._evaluator.is_busy and not cancel.is_cancelled:
                self._evaluator.attend()
                cancel.wait(TICK_S)

    def _is_due(self, iteration: int) -> bool:
        if self._evaluator is None or self._every is None or self._is_enough:
            return False
        return iteration % self._every == 0 or iteration >= self.meter.iterations

    def _evaluate(self, line: Line) -> None:
        assert self._evaluator is not None
        path = self._folder.path
        self._evaluator.add(Saved(iteration=line.iteration, weights=path / line.weights, state=path / line.state))

    def _take(self, found: Evaluated) -> None:
        best = self._folder.header().best
        if found.value is not None and best is not None:
            mark = "the best so far" if best.iteration == found.iteration else f"best {best.value:.4g}"
            self._say(f"iteration {found.iteration}: {best.metric} {found.value:.4g}, {mark}")
        without = count_without_gain(read_evaluations(self._folder), best)
        if self._work.patience is not None and without >= self._work.patience:
            self._say(f"no gain in {without} evaluated checkpoints: stopping")
            self._folder.ask_to_stop(NO_GAIN)
            self._is_enough = True
            if self._evaluator is not None:
                self._evaluator.forget()


def _write_end(folder: TrainingFolder, state: State, meter: Meter, reason: str) -> None:
    done = meter.last.iteration if meter.last is not None else folder.header().iteration
    folder.write_header(msgspec.structs.replace(folder.header(), state=state, iteration=done, reason=reason))


def _explain_stop(folder: TrainingFolder, meter: Meter) -> StoppedError:
    saved = folder.last_saved()
    header = folder.header()
    if saved is None:
        return StoppedError(f"{header.name} was stopped before its first checkpoint", hint=header.resume_command)
    return StoppedError(
        f"{header.name} was stopped; its checkpoint is of iteration {saved.iteration} of {meter.iterations}",
        hint=header.resume_command,
    )


def _failed_hint(folder: TrainingFolder, error: AdmlopsError) -> str:
    saved = folder.last_saved()
    if saved is None:
        return error.hint
    return f"{error.hint}\n  → {folder.header().resume_command}   # from iteration {saved.iteration}"
