"""A supervised program: started in a group of its own with a mark and a log, watched, and ended for good.

Workers, trainings and jobs are such programs. Nothing here knows the wire format.
"""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from admlops.core.cgroups import OomWatch
from admlops.core.errors import EnvError
from admlops.core.processes import signal_of
from admlops.execution.process_cleanup import MARK_VARIABLE, end_processes, processor_seconds
from admlops.execution.process_log import ProcessLog

LOOK_S = 0.15
"""How often the control group of a program is looked up."""
ATTEND_S = 0.02
"""How often a program that was asked to end is looked at."""


@dataclass(frozen=True, kw_only=True)
class Program:
    """A program to start: `arguments` in `cwd`, with exactly these environment variables."""

    arguments: Sequence[str]
    cwd: Path
    variables: Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Ending:
    """The end of a program: its exit code (negative: the signal), and the processes that outlived KILL."""

    exit_code: int | None
    left: list[int]


class SupervisedProcess:
    """A program from its spawn to its end.

    The thread that makes one must live until it has been stopped: a program may ask the kernel to die with it.

    Raises:
        EnvError: the program could not be started.
        StorageError: its log cannot be written.
    """

    def __init__(self, program: Program, *, log: ProcessLog, title: str, pass_fds: Sequence[int] = ()) -> None:
        self.mark = secrets.token_hex(16)
        self._log = log
        log_fd = log.open(title)
        try:
            self._process = subprocess.Popen(
                list(program.arguments),
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                cwd=program.cwd,
                env={"PYTHONUNBUFFERED": "1", **program.variables, MARK_VARIABLE: self.mark},
                pass_fds=tuple(pass_fds),
                start_new_session=True,
            )
        except OSError as error:
            raise EnvError(
                f"{program.arguments[0]} could not be started in {program.cwd}: {error.strerror}",
                hint="admlops env install MODEL   # builds it again if it is damaged",
            ) from error
        finally:
            os.close(log_fd)
        self._oom_watch = OomWatch(self.pid)
        self._looked = time.monotonic()

    @property
    def pid(self) -> int:
        """The program's process id, which is its group's too."""
        return self._process.pid

    def has_ended(self) -> bool:
        """Say whether the program itself has ended; what it has started may live on."""
        return self._process.poll() is not None

    def has_said_more(self) -> bool:
        """Say whether its log has grown since the last call."""
        if time.monotonic() > self._looked + LOOK_S:
            self.look()
        return self._log.has_grown()

    def look(self) -> None:
        """Note the control group that the program is in now: an out-of-memory kill is counted there."""
        self._looked = time.monotonic()
        self._oom_watch.look()

    def processor_s(self) -> float:
        """Return the processor time that the program and what it has started have used [s]."""
        return processor_seconds(frozenset({self.mark}), group=self.pid)

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the program's exit code; None if it runs on."""
        try:
            return self._process.wait(timeout=timeout_s)
        except subprocess.TimeoutExpired:
            return None

    def signal_name(self, code: int) -> str | None:
        """Return the name of the signal that an exit code stands for, such as SIGBUS."""
        return signal_of(code)

    def was_killed_for_memory(self, code: int) -> bool:
        """Say whether the kernel ended the program for lack of memory: KILL, and a kill counted in its own group."""
        return -code == signal.SIGKILL and self._oom_watch.has_killed()

    def terminate(self) -> None:
        """Send TERM to the program itself, not to what it has started."""
        self._process.terminate()

    def stop(self, *, grace_s: float, attend: Callable[[float], None] = time.sleep) -> Ending:
        """End the program and all that it has started: wait, TERM, KILL; the first two get `grace_s` each.

        The caller has asked the program to end. `attend` is called repeatedly with a time [s] while it may do so.
        """
        deadline = time.monotonic() + grace_s
        while not self.has_ended() and time.monotonic() < deadline:
            attend(ATTEND_S)
        left = end_processes(frozenset({self.mark}), group=self.pid, term_s=grace_s)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=1.0)
        self._log.has_grown()
        return Ending(exit_code=self._process.returncode, left=left)

    def log_tail(self) -> str:
        """Return the last lines of output."""
        return self._log.tail()
