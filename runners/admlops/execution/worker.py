"""One worker: a supervised process that speaks the wire format. Start it, give it scenes, notice what goes wrong."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from admlops.execution.batches import Batch
from admlops.execution.deadlines import DeadlineClock, Deadlines
from admlops.execution.failures import WorkerError, WorkerFailure
from admlops.execution.messages import BatchBegun, Failed, Hello, Message, Ready, Result, SceneDone, decode_message
from admlops.execution.pipe import FramePipe
from admlops.execution.process import Ending, Program, SupervisedProcess
from admlops.execution.process_log import ProcessLog
from admlops.results.record import FailureClass
from admlops.worker.samples.form import find_non_finite
from admlops.worker.wire import ALIVE, LOAD, PROTOCOL_VERSION, SCENE, STOP, Frame, ProtocolError, encode_frame

TICK_S = 0.2
"""How often cancellation, deadlines, the log and the process itself are checked while nothing arrives."""
LAST_BREATH_S = 2.0
"""How long a worker that has closed its pipe may take to end."""
FATAL: frozenset[FailureClass] = frozenset({"arch", "host_oom", "poisoned", "lost"})
"""Failures after which the worker itself gives up."""
_RAISED = re.compile(r"^((?:\w+\.)*\w*(?:Error|Exception)): ?(.*)$")
_PLACE = re.compile(r'^\s*File "(.+)", line (\d+)')
PASSING_ERRORS = ("MemoryError", "OSError", "BlockingIOError", "ConnectionError", "TimeoutError")
"""Exceptions of an import that may pass: the worker is tried again."""

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, kw_only=True)
class WorkerCommand:
    """The command of a worker: `PYTHON ADAPTER --serve …` in `cwd`, with exactly these environment variables."""

    python: Path
    adapter: Path
    cwd: Path
    variables: Mapping[str, str]


class Worker:
    """A worker from its spawn to its end. Every failure is a WorkerError; after one, only `stop` is of use.

    Args:
        command: what to start.
        log: where its output goes.
        deadlines: its limits.
        is_cancelled: asked repeatedly; True interrupts the worker.
        title: the line that begins its part of the log.
        on_cpu: it computes on the CPU, so that its processor time says whether it works or hangs.

    Raises:
        EnvError: the program could not be started.
        StorageError: its log cannot be written.
    """

    def __init__(
        self,
        command: WorkerCommand,
        *,
        log: ProcessLog,
        deadlines: Deadlines,
        is_cancelled: Callable[[], bool],
        title: str,
        on_cpu: bool = True,
    ) -> None:
        self._is_cancelled = is_cancelled
        self._has_greeted = self._is_ready = False
        self._together = 1
        self._process, self._pipe = _spawn(command, log, title)
        self._clock = DeadlineClock(
            deadlines, time.monotonic(), processor_s=self._process.processor_s if on_cpu else None
        )

    @property
    def pid(self) -> int:
        """The worker's process id."""
        return self._process.pid

    @property
    def mark(self) -> str:
        """The mark that its processes carry."""
        return self._process.mark

    def start(self, *, model: str, load: Mapping[str, Any]) -> tuple[Hello, Ready]:
        """Wait for the model to be loaded. `load` is the load frame's payload."""
        hello = self._expect(Hello)
        self._has_greeted = True
        if hello.protocol != PROTOCOL_VERSION:
            raise self._protocol_error(f"the worker speaks protocol {hello.protocol}, the host {PROTOCOL_VERSION}")
        if hello.model != model:
            raise self._protocol_error(f"the adapter says it is {hello.model}, not {model}")
        self._pipe.send(encode_frame(LOAD, dict(load)))
        ready = self._expect(Ready)
        self._is_ready = True
        self._process.look()
        self._clock.note_ready(time.monotonic())
        return hello, ready

    def run_scene(
        self, scene: str, samples: Sequence[Mapping[str, Any]], *, batch: Batch | None = None
    ) -> Iterator[Result | Failed]:
        """Yield one answer a sample, in order. A `Failed` among them costs only its sample.

        With `batch` the worker takes several samples at once, if its adapter can.
        """
        self._together = 1
        self._pipe.send(self._encode_scene(scene, samples, batch))
        for sample in samples:
            self._clock.begin_call(time.monotonic())
            yield self._answer(str(sample["sample_token"]))
        self._clock.begin_call(time.monotonic())
        done = self._expect(SceneDone)
        if (done.scene, done.samples) != (scene, len(samples)):
            raise self._protocol_error(
                f"scene_done says {done.samples} samples of {done.scene}, not {len(samples)} of {scene}"
            )

    def stop(self, *, grace_s: float) -> Ending:
        """End the worker and all it has started: `stop` frame, TERM, KILL. Each of the first two gets `grace_s`."""
        self._pipe.send(encode_frame(STOP, {}))
        ending = self._process.stop(grace_s=grace_s, attend=self._attend)
        self._pipe.close()
        return ending

    def log_tail(self) -> str:
        """Return the last lines of output."""
        return self._process.log_tail()

    def _attend(self, timeout_s: float) -> None:
        """Read on, so that a worker in the middle of an answer can finish it."""
        self._pipe.exchange(timeout_s)
        self._pipe.discard()
        if self._pipe.ended:
            time.sleep(timeout_s / 2)

    def _encode_scene(self, scene: str, samples: Sequence[Mapping[str, Any]], batch: Batch | None) -> bytes:
        request: dict[str, Any] = {"scene": scene, "samples": list(samples)}
        if batch is not None:
            request["batch"] = {"auto": batch.auto, "most": batch.most}
        try:
            return encode_frame(SCENE, request)
        except ProtocolError as error:
            place = find_non_finite([dict(sample) for sample in samples], f"{scene}: samples")
            raise self._failure("data", f"{place} is not a finite number" if place else f"{scene}: {error}") from error

    def _answer(self, token: str) -> Result | Failed:
        message = self._receive()
        while isinstance(message, BatchBegun):
            self._together = message.samples
            self._clock.begin_call(time.monotonic(), samples=self._together)
            message = self._receive()
        if not isinstance(message, Result | Failed):
            raise self._protocol_error(f"{type(message).__name__} where the answer for sample {token} was due")
        if isinstance(message, Failed) and (message.sample_token is None or message.kind in FATAL):
            raise self._reported(message)
        if message.sample_token != token:
            raise self._protocol_error(f"sample_token is {message.sample_token!r} where {token!r} was due")
        self._clock.note_answer(time.monotonic())
        return message

    def _expect(self, kind: type[_M]) -> _M:
        message = self._receive()
        if isinstance(message, Failed):
            raise self._reported(message)
        if not isinstance(message, kind):
            raise self._protocol_error(f"{type(message).__name__} where {kind.__name__} was due")
        return message

    def _receive(self) -> Message:
        try:
            while True:
                frame = self._next_frame()
                if frame.kind != ALIVE:
                    return decode_message(frame)
        except ProtocolError as error:
            raise self._protocol_error(str(error)) from error

    def _next_frame(self) -> Frame:
        while True:
            frame = self._pipe.next_frame()
            if frame is not None:
                return frame
            self._check_deadlines()
            ended = self._process.has_ended()  # asked first: all that it wrote is then there to be read
            if self._pipe.exchange(0.0 if ended else TICK_S):
                self._clock.note_sign(time.monotonic())
            elif ended or self._pipe.ended:
                raise self._explain_end()

    def _check_deadlines(self) -> None:
        if self._is_cancelled():
            raise self._failure("cancelled", "the run was cancelled")
        now = time.monotonic()
        if self._process.has_said_more():
            self._clock.note_sign(now)
        overdue = self._clock.overdue(now)
        if overdue is not None:
            raise self._failure("hang", overdue)

    def _explain_end(self) -> WorkerError:
        """Say why the worker has closed its pipe, or ended, or both; everything it wrote has been read."""
        code = self._process.wait(LAST_BREATH_S)
        if code is None:
            return self._protocol_error("the worker closed its pipe and runs on")
        if code < 0:
            name = self._process.signal_name(code)
            if self._process.was_killed_for_memory(code):
                return self._failure("host_oom", f"the kernel killed the worker for want of memory ({name})")
            return self._failure("crash", f"the worker was killed by {name}", killed_by=name)
        try:
            self._pipe.finish()
        except ProtocolError as error:
            return self._protocol_error(str(error))
        raised = None if self._has_greeted or code != 1 else find_import_error(self.log_tail())
        if raised is not None:
            return self._failure("model", f"the adapter cannot be imported: {raised}")
        return self._failure("crash", f"the worker ended by itself with exit code {code}")

    def _reported(self, message: Failed) -> WorkerError:
        return WorkerError(replace(reported_failure(message, starting=not self._is_ready), batch=self._together))

    def _protocol_error(self, message: str) -> WorkerError:
        return self._failure("protocol", message)

    def _failure(self, kind: FailureClass, message: str, *, killed_by: str | None = None) -> WorkerError:
        starting, detail = not self._is_ready, self.log_tail()
        return WorkerError(
            WorkerFailure(
                kind=kind, message=message, detail=detail, starting=starting, signal=killed_by, batch=self._together
            )
        )


def find_import_error(output: str) -> str | None:
    """Return the exception that ended a program's import and where it was raised, from its last output, or None.

    An import fails the same way however often it is tried; `PASSING_ERRORS` are the exceptions.
    """
    lines = [line for line in output.splitlines() if line.strip()]
    raised = _RAISED.match(lines[-1]) if lines else None
    if raised is None or raised[1] in PASSING_ERRORS:
        return None
    places = [found for line in lines if (found := _PLACE.match(line)) is not None]
    if not places:
        return None
    return f"{raised[0].strip()} ({places[-1][1]}, line {places[-1][2]})"


def reported_failure(message: Failed, *, starting: bool = False) -> WorkerFailure:
    """Return what a worker reported, as the host keeps it."""
    return WorkerFailure(kind=message.kind, message=message.message, detail=message.traceback, starting=starting)


def _spawn(command: WorkerCommand, log: ProcessLog, title: str) -> tuple[SupervisedProcess, FramePipe]:
    their_read, our_write = os.pipe()
    our_read, their_write = os.pipe()
    program = Program(
        arguments=(
            str(command.python),
            str(command.adapter),
            "--serve",
            f"--read-fd={their_read}",
            f"--write-fd={their_write}",
        ),
        cwd=command.cwd,
        variables=command.variables,
    )
    try:
        process = SupervisedProcess(program, log=log, title=title, pass_fds=(their_read, their_write))
    except BaseException:  # Ctrl-C too: nobody else closes our ends where no worker came of it
        os.close(our_read)
        os.close(our_write)
        raise
    finally:
        os.close(their_read)
        os.close(their_write)
    return process, FramePipe(read_fd=our_read, write_fd=our_write)
