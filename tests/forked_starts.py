"""Starts of `python -m admlops` as forks of one interpreter that has imported it: tests/fork_server.py.

Two thirds of what the tests cost was the start of these processes. Under `forked_starts()` a `subprocess.Popen` whose
command begins with `sys.executable, "-m", "admlops"` yields such a fork: a process of its own, child of this one, with
the words, variables, folder and descriptors asked for. Whatever a fork cannot be made to resemble is started for real:
another interpreter, variables that the interpreter reads when it starts, inherited descriptors. So are all starts of
tests marked `real_start`, and all of a test run with ADMLOPS_TEST_EXEC=1.
"""

from __future__ import annotations

import inspect
import json
import os
import platform
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tests.fork_server import ANSWER, CLONE_NUMBERS, LENGTH

SWITCH = "ADMLOPS_TEST_EXEC"
READ_AT_START = (
    *("PYTHON", "LC_", "LANG", "LD_", "MPL", "OMP_", "OPENBLAS_", "MKL_", "MALLOC_", "TZ", "GLIBC_"),
    *("NUMPY_", "NPY_", "SCIPY_", "PILLOW_", "LOG_LEVEL"),
)
"""Variables that begin so are read when the interpreter starts or modules are imported."""

SIGNATURE = inspect.signature(subprocess.Popen._execute_child)  # type: ignore[attr-defined]

_started_for_real = threading.Event()


class ForkServer:
    """The interpreter that is forked. It starts with the first fork."""

    def __init__(self, modules: Sequence[str]) -> None:
        self.forks = 0
        self._modules = modules
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def close(self) -> None:
        if self._process is not None:
            self._connection.close()
            self._process.wait(timeout=30)

    def suits(self, wanted: Mapping[str, Any]) -> bool:
        """Tell whether a fork would be the process that `subprocess.Popen` was asked for."""
        command = wanted["args"]
        if _started_for_real.is_set() or isinstance(command, str | bytes | os.PathLike) or wanted["shell"]:
            return False
        words = [os.fsdecode(word) for word in command]
        begins = words[:2] == [sys.executable, "-m"] and words[2:3] in [[module] for module in self._modules]
        plain = wanted["close_fds"] and not wanted["pass_fds"] and wanted["restore_signals"]
        same_user = wanted["gid"] is wanted["gids"] is wanted["uid"] is wanted["preexec_fn"] is None
        if not (begins and plain and same_user and wanted["executable"] is None and wanted["process_group"] == -1):
            return False
        folder = Path(wanted["cwd"] or ".")
        variables = os.environ if wanted["env"] is None else wanted["env"]
        self._start()
        return (
            self._read_at_start == _read_at_start(variables)
            and not any("=" in os.fsdecode(name) for name in variables)
            and not (folder / "admlops").exists()
        )

    def fork(self, wanted: Mapping[str, Any]) -> int:
        """Fork the process asked for, and return its id."""
        words = [os.fsdecode(word) for word in wanted["args"]]
        variables = os.environ if wanted["env"] is None else wanted["env"]
        umask = int(Path("/proc/self/status").read_text().partition("\nUmask:")[2].split()[0], 8)
        request = {
            "module": words[2],
            "words": words[3:],
            "variables": {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()},
            "umask": umask if wanted["umask"] < 0 else wanted["umask"],
            "new_session": bool(wanted["start_new_session"]),
            "ignores_interrupts": signal.getsignal(signal.SIGINT) is signal.SIG_IGN,
        }
        data = json.dumps(request).encode()
        given = (wanted["p2cread"], wanted["c2pwrite"], wanted["errwrite"])
        streams = [number if given[number] == -1 else given[number] for number in range(3)]
        folder = os.open(wanted["cwd"] or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            with self._lock:
                socket.send_fds(self._connection, [LENGTH.pack(len(data))], [*streams, folder])
                self._connection.sendall(data)
                answer = self._connection.recv(ANSWER.size, socket.MSG_WAITALL)
                assert answer, f"{self._process} has ended and said why on standard error; {SWITCH}=1 does without it"
                pid = int(ANSWER.unpack(answer)[0])
        finally:
            os.close(folder)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        self.forks += 1
        return pid

    def _start(self) -> None:
        with self._lock:
            if self._process is not None:
                return
            self._read_at_start = _read_at_start(os.environ)
            self._connection, theirs = socket.socketpair()
            with theirs:
                command = [sys.executable, str(Path(__file__).with_name("fork_server.py")), str(theirs.fileno())]
                self._process = subprocess.Popen(
                    command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/"
                )


def _read_at_start(variables: Mapping[Any, Any]) -> dict[str, str]:
    named = {os.fsdecode(name): os.fsdecode(value) for name, value in variables.items()}
    return {name: value for name, value in named.items() if name.startswith(READ_AT_START)}


@contextmanager
def started_for_real() -> Iterator[None]:
    """Fork nothing meanwhile."""
    _started_for_real.set()
    try:
        yield
    finally:
        _started_for_real.clear()


@contextmanager
def forked_starts(modules: Sequence[str] = ("admlops", "tests.execution.host")) -> Iterator[ForkServer]:
    """Let `subprocess` fork what it would start as `python -m MODULE`, if machine and ADMLOPS_TEST_EXEC allow it."""
    server = ForkServer(modules)
    execute = subprocess.Popen._execute_child  # type: ignore[attr-defined]

    def fork_or_execute(self: Any, *arguments: Any) -> None:
        wanted = SIGNATURE.bind(self, *arguments).arguments
        if not server.suits(wanted):
            execute(self, *arguments)
            return
        pipes = [wanted[name] for name in ("p2cread", "p2cwrite", "c2pread", "c2pwrite", "errread", "errwrite")]
        try:
            self.pid = server.fork(wanted)
            self._child_created = True
        finally:
            self._close_pipe_fds(*pipes)

    with ExitStack() as stack:
        if not os.environ.get(SWITCH) and platform.machine() in CLONE_NUMBERS:
            stack.callback(server.close)
            stack.callback(setattr, subprocess.Popen, "_execute_child", execute)
            subprocess.Popen._execute_child = fork_or_execute  # type: ignore[attr-defined]
        yield server
