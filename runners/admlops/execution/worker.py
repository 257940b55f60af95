"""One worker process, seen from the host: start it, give it scenes, notice whatever goes wrong, end it for good."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

from admlops.core.cgroups import count_oom_kills
from admlops.core.errors import DataError, EnvError
from admlops.core.processes import signal_of
from admlops.execution.deadlines import Deadlines
from admlops.execution.failures import Trouble, WorkerError
from admlops.execution.messages import Failed, Hello, Message, Ready, Result, SceneDone, decode_message
from admlops.execution.pipe import FramePipe
from admlops.execution.process_cleanup import MARK_VARIABLE, end_processes
from admlops.execution.worker_log import WorkerLog
from admlops.results.record import FailureClass
from worker.wire import ALIVE, LOAD, PROTOCOL_VERSION, SCENE, STOP, Frame, ProtocolError, encode_frame

TICK_S = 0.2
"""How often cancellation, deadlines, the log and the process itself are looked at while nothing arrives."""
LAST_BREATH_S = 2.0
"""How long a worker that has closed its pipe may take to end."""
FATAL: frozenset[FailureClass] = frozenset({"arch", "host_oom", "poisoned"})
"""Failures after which the worker itself gives up."""

_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, kw_only=True)
class WorkerCommand:
    """What to start: `PYTHON ADAPTER --serve …` in `cwd`, with exactly these environment variables."""

    python: Path
    adapter: Path
    cwd: Path
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """How a worker ended: its exit code (negative: the signal), and the processes that could not be ended."""

    exit_code: int | None
    left: list[int]


class Worker:
    """A worker from its spawn to its end. Every failure is a WorkerError; after one, only `stop` is of use.

    The thread that makes a worker must live until it has been stopped: the kernel ends the worker with it.
    """

    def __init__(
        self, command: WorkerCommand, *, log: WorkerLog, deadlines: Deadlines, cancelled: Event, title: str
    ) -> None:
        self.mark = secrets.token_hex(16)
        self._log = log
        self._deadlines = deadlines
        self._cancelled = cancelled
        self._oom_kills = count_oom_kills()
        self._ready = False
        self._process, self._pipe = self._spawn(command, title)
        self._began = self._last_sign = time.monotonic()
        self._due = ("start", deadlines.start_s, self._began + deadlines.start_s)

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, *, model: str, load: Mapping[str, Any]) -> tuple[Hello, Ready]:
        """Wait for the model to be loaded. `load` is the load frame's payload."""
        hello = self._expect(Hello)
        if hello.protocol != PROTOCOL_VERSION:
            raise self._protocol(f"the worker speaks protocol {hello.protocol}, the host {PROTOCOL_VERSION}")
        if hello.model != model:
            raise self._protocol(f"the adapter says it is {hello.model}, not {model}")
        self._pipe.send(encode_frame(LOAD, dict(load)))
        ready = self._expect(Ready)
        self._ready = True
        return hello, ready

    def run_scene(self, scene: str, samples: Sequence[Mapping[str, Any]]) -> Iterator[Result | Failed]:
        """One answer a sample, in order. A `Failed` among them has cost its sample and no more."""
        try:
            request = encode_frame(SCENE, {"scene": scene, "samples": list(samples)})
        except ProtocolError as error:
            raise DataError(f"{scene}: {error}", hint="choose fewer samples with --limit") from error
        self._pipe.send(request)
        for sample in samples:
            self._allow_call()
            yield self._answer(str(sample["sample_token"]))
        self._allow_call()
        done = self._expect(SceneDone)
        if (done.scene, done.samples) != (scene, len(samples)):
            raise self._protocol(
                f"scene_done says {done.samples} samples of {done.scene}, not {len(samples)} of {scene}"
            )

    def stop(self, *, grace_s: float) -> Ending:
        """End the worker and all it has started: `stop` frame, TERM, KILL. Each of the first two gets `grace_s`."""
        self._pipe.send(encode_frame(STOP, {}))
        deadline = time.monotonic() + grace_s
        while self._process.poll() is None and time.monotonic() < deadline:
            self._pipe.exchange(0.02)  # reading on, so that a worker in the middle of an answer can finish it
            self._pipe.discard()
            if self._pipe.ended:
                time.sleep(0.01)
        left = end_processes(frozenset({self.mark}), group=self.pid, term_s=grace_s)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self._pipe.close()
        self._log.has_grown()
        return Ending(exit_code=self._process.returncode, left=left)

    def log_tail(self) -> str:
        """The last lines of output."""
        return self._log.tail()

    def _spawn(self, command: WorkerCommand, title: str) -> tuple[subprocess.Popen[bytes], FramePipe]:
        their_read, our_write = os.pipe()
        our_read, their_write = os.pipe()
        log_fd = self._log.open(title)
        try:
            process = subprocess.Popen(
                [
                    str(command.python),
                    str(command.adapter),
                    "--serve",
                    f"--read-fd={their_read}",
                    f"--write-fd={their_write}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd=command.cwd,
                env={"PYTHONUNBUFFERED": "1", **command.variables, MARK_VARIABLE: self.mark},
                pass_fds=(their_read, their_write),
                start_new_session=True,
            )
        except OSError as error:
            os.close(our_read)
            os.close(our_write)
            raise EnvError(
                f"{command.python} could not be started in {command.cwd}: {error.strerror}",
                hint="admlops env install MODEL   # builds it again if it is damaged",
            ) from error
        finally:
            for descriptor in (their_read, their_write, log_fd):
                os.close(descriptor)
        return process, FramePipe(read_fd=our_read, write_fd=our_write)

    def _answer(self, token: str) -> Result | Failed:
        message = self._receive()
        if not isinstance(message, Result | Failed):
            raise self._protocol(f"{type(message).__name__} where the answer for sample {token} was due")
        if isinstance(message, Failed) and (message.sample_token is None or message.kind in FATAL):
            raise self._reported(message)
        if message.sample_token != token:
            raise self._protocol(f"sample_token is {message.sample_token!r} where {token!r} was due")
        return message

    def _expect(self, kind: type[_M]) -> _M:
        message = self._receive()
        if isinstance(message, Failed):
            raise self._reported(message)
        if not isinstance(message, kind):
            raise self._protocol(f"{type(message).__name__} where {kind.__name__} was due")
        return message

    def _receive(self) -> Message:
        try:
            while True:
                frame = self._next_frame()
                if frame.kind != ALIVE:
                    return decode_message(frame)
        except ProtocolError as error:
            raise self._protocol(str(error)) from error

    def _next_frame(self) -> Frame:
        while True:
            frame = self._pipe.next_frame()
            if frame is not None:
                return frame
            self._check_deadlines()
            ended = self._process.poll() is not None  # asked first: all that it wrote is then there to be read
            if self._pipe.exchange(0.0 if ended else TICK_S):
                self._last_sign = time.monotonic()
            elif ended or self._pipe.ended:
                raise self._explain_end()

    def _allow_call(self) -> None:
        self._due = ("call", self._deadlines.call_s, time.monotonic() + self._deadlines.call_s)

    def _check_deadlines(self) -> None:
        if self._cancelled.is_set():
            raise self._trouble("cancelled", "the run was cancelled")
        now = time.monotonic()
        if self._log.has_grown():
            self._last_sign = now
        name, limit_s, due = self._due
        silence_s, total_s = self._deadlines.silence_s, self._deadlines.total_s
        if now > due:
            what = "no result" if self._ready else "the model was not loaded"
            raise self._trouble("hang", f"{what} within {limit_s:g} s (the {name} deadline)")
        if self._ready and now > self._last_sign + silence_s:
            raise self._trouble("hang", f"neither a frame nor output for {silence_s:g} s (the silence deadline)")
        if now > self._began + total_s:
            raise self._trouble("hang", f"the worker has lived for {total_s:g} s (the total deadline)")

    def _explain_end(self) -> WorkerError:
        """The worker has closed its pipe, or ended, or both; everything it wrote has been read."""
        try:
            code = self._process.wait(timeout=LAST_BREATH_S)
        except subprocess.TimeoutExpired:
            return self._protocol("the worker closed its pipe and runs on")
        if code < 0:
            name = signal_of(code)
            if -code == signal.SIGKILL and count_oom_kills() > self._oom_kills:
                return self._trouble("host_oom", f"the kernel killed the worker for want of memory ({name})")
            return self._trouble("crash", f"the worker was killed by {name}", killed_by=name)
        try:
            self._pipe.finish()
        except ProtocolError as error:
            return self._protocol(str(error))
        return self._trouble("crash", f"the worker ended by itself with exit code {code}")

    def _reported(self, message: Failed) -> WorkerError:
        return WorkerError(trouble_of(message, starting=not self._ready))

    def _protocol(self, message: str) -> WorkerError:
        return self._trouble("protocol", message)

    def _trouble(self, kind: FailureClass, message: str, *, killed_by: str | None = None) -> WorkerError:
        starting, detail = not self._ready, self.log_tail()
        return WorkerError(Trouble(kind=kind, message=message, detail=detail, starting=starting, signal=killed_by))


def trouble_of(message: Failed, *, starting: bool = False) -> Trouble:
    """What the worker reported, as the host keeps it."""
    return Trouble(kind=message.kind, message=message.message, detail=message.traceback, starting=starting)
