"""A job on a model in a process of its environment: exporting, verifying, training. `worker.jobs` is its other side."""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from admlops.core.errors import AdmlopsError, DataError, EnvError, RunFailedError, StoppedError, UsageError
from admlops.core.processes import dying_with_us
from admlops.core.types import Say
from admlops.execution.cancel import CancelToken
from admlops.execution.failures import WorkerFailure, diagnose_failure
from admlops.execution.process import Program, SupervisedProcess
from admlops.execution.process_log import ProcessLog
from admlops.execution.worker import WorkerCommand
from admlops.worker.jobs import PROGRESS

TICK_S = 0.2
GRACE_S = 5.0


@dataclass(frozen=True, kw_only=True)
class JobRequest:
    """One job: `program` is its module, `settings` as in a load frame, `request` the program's own.

    `path` are folders of packages that the model's environment lacks. `title` is what a person calls the job, `log`
    where its output goes. `launcher` are Python's arguments in front of the adapter, for a program that starts several
    processes. `attend` is called repeatedly while the job runs. `ask_to_end` asks a job that is cancelled to end
    by itself, within `ending_s`; without it, the job is killed.
    """

    model: str
    title: str
    command: WorkerCommand
    program: Path
    settings: Mapping[str, Any]
    request: Mapping[str, Any]
    log: Path
    path: Sequence[str] = ()
    cancel: CancelToken = field(default_factory=CancelToken)
    launcher: Sequence[str] = ()
    attend: Callable[[], None] = lambda: None
    ask_to_end: Callable[[], None] | None = None
    ending_s: float = 0.0


def run_job(job: JobRequest, *, say: Say) -> dict[str, Any]:
    """Do a job and return its answer; its progress is passed to `say`.

    Raises:
        UsageError: the request is at fault, such as a configuration that cannot be exported.
        RunFailedError: the model or the job's program failed; the message is its own.
        DataError: an input is at fault.
        StoppedError: it was cancelled.
        EnvError: the process could not be started.
    """
    with tempfile.TemporaryDirectory(prefix="admlops-job-") as folder, job.cancel.watched():
        asked, answer = Path(folder) / "job.json", Path(folder) / "answer.json"
        content = {
            "program": str(job.program),
            "path": list(job.path),
            "settings": dict(job.settings),
            "request": dict(job.request),
            "answer": str(answer),
        }
        asked.write_text(json.dumps(content))
        with _process(job, asked) as process:
            _wait(job, process, say)
            said = process.log_tail()
        if not answer.is_file():
            raise _explain_end(job, process, said)
        found: dict[str, Any] = json.loads(answer.read_text())
    if "done" in found:
        done: dict[str, Any] = found["done"]
        return done
    raise _explain_failure(job, found["failed"])


@contextmanager
def _process(job: JobRequest, asked: Path) -> Iterator[SupervisedProcess]:
    program = Program(
        arguments=(
            *(dying_with_us() if job.launcher else ()),  # a launcher does not ask for it, as our own programs do
            str(job.command.python),
            *job.launcher,
            str(job.command.adapter),
            "--job",
            str(asked),
        ),
        cwd=job.command.cwd,
        variables=job.command.variables,
    )
    process = SupervisedProcess(program, log=ProcessLog(job.log), title=job.title)
    try:
        yield process
    finally:
        # The program was not asked to end, so it gets no time for that unless it has ended by itself.
        process.stop(grace_s=GRACE_S if process.has_ended() else 0.0)


def _wait(job: JobRequest, process: SupervisedProcess, say: Say) -> None:
    """Wait for the program's end, and say the lines that are meant for a person."""
    with job.log.open("rb") as log:
        log.seek(0, 2)
        rest = b""
        must_end_by: float | None = None
        while True:
            ended = process.wait(TICK_S) is not None
            *lines, rest = (rest + log.read()).split(b"\n")
            for line in lines:
                text = line.decode("utf-8", "replace")
                if text.startswith(PROGRESS):
                    say(text.removeprefix(PROGRESS))
            job.attend()
            if ended:
                return
            if job.cancel.is_cancelled:
                must_end_by = must_end_by or _ask_to_end(job)
                if time.monotonic() > must_end_by:
                    raise StoppedError(f"{job.title} was stopped", hint="repeat the command: nothing half-done is kept")
            process.look()


def _ask_to_end(job: JobRequest) -> float:
    """Ask a cancelled job to end; returns when it must have ended [monotonic seconds]."""
    if job.ask_to_end is None:
        return 0.0
    job.ask_to_end()
    return time.monotonic() + job.ending_s


def _explain_end(job: JobRequest, process: SupervisedProcess, said: str) -> AdmlopsError:
    code = process.wait(GRACE_S)
    how = f"ended with exit code {code}"
    if code is not None and code < 0:
        memory = " for want of memory" if process.was_killed_for_memory(code) else ""
        how = f"was killed by {process.signal_name(code)}{memory}"
    last = said.strip().splitlines()[-1:] or ["it said nothing"]
    return RunFailedError(f"{job.title}: the process {how}: {last[0]}", hint=f"less {job.log}   # all that it said")


def _explain_failure(job: JobRequest, failed: Mapping[str, Any]) -> AdmlopsError:
    if "hint" in failed:
        return UsageError(f"{job.title}: {failed['text']}", hint=failed["hint"])
    failure = diagnose_failure(
        WorkerFailure(kind=failed["class"], message=failed["message"], detail=failed["traceback"]),
        model=job.model,
        python=job.command.python,
    )
    hint = failure.diagnosis.hint if failure.diagnosis else f"less {job.log}   # has the traceback"
    kinds: Mapping[str, type[AdmlopsError]] = {"data": DataError, "arch": EnvError}
    return kinds.get(failure.kind, RunFailedError)(f"{job.title}: {failure.summary}", hint=hint)
