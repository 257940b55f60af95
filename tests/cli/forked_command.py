"""The `admlops` command, forked from one interpreter that has imported everything: a hundred times a second.

Run as a program it reads commands as lines of JSON and answers each with how it ended. What the interpreter does before
`main()` and after it is done here in its stead: standard streams by the descriptors and by PYTHONIOENCODING, the exit
code, the last flush. The descriptors, signals and permissions are real.
"""

from __future__ import annotations

import atexit
import codecs
import ctypes
import gc
import importlib
import io
import json
import os
import pkgutil
import resource
import select
import signal
import subprocess
import sys
import threading
import time
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TextIO

Stream = Literal["file", "closed", "full", "no reader", "null", "open"]
CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH = 1, 2
CAPABILITY_VERSION_3 = 0x20080522
LIMIT_S = 60.0
"""A command that takes longer is killed; its exit code is then that of SIGKILL."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """A command line and what it meets. Words and variables may hold any bytes, as `os.fsdecode` writes them."""

    words: tuple[str, ...]
    variables: dict[str, str | None] = field(default_factory=dict)
    cwd: str = "/"
    stdin: Stream = "null"
    stdout: Stream = "file"
    stderr: Stream = "file"
    signal: int = 0
    """Sent as soon as the command waits for its standard input, which must be `open`."""


@dataclass(frozen=True, kw_only=True)
class Ended:
    """How a command ended; `code` is negative where a signal ended it."""

    code: int
    stdout: str
    stderr: str


class ForkedCommands:
    """The interpreter that is forked: `with ForkedCommands(variables) as admlops: admlops.run(Command(...))`."""

    def __init__(self, variables: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=variables, cwd="/", text=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate(timeout=30)

    def run(self, command: Command) -> Ended:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(asdict(command)) + "\n")
        self._process.stdin.flush()
        return Ended(**json.loads(self._process.stdout.readline()))


def serve() -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job begins with it ignored
    _import_everything()
    gc.collect()
    gc.freeze()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        answers.write(json.dumps(asdict(_run(Command(**json.loads(line))))) + "\n")
        answers.flush()


def _import_everything() -> None:
    import admlops
    from admlops.doctor import load_rules

    for module in pkgutil.walk_packages(admlops.__path__, "admlops."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:  # alembic runs those itself
            importlib.import_module(module.name)
    for rule in load_rules():
        _ = rule.says_pattern, rule.raised_pattern, rule.context_pattern, rule.unless_pattern


def _run(command: Command) -> Ended:
    out, err = os.memfd_create("out"), os.memfd_create("err")
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(theirs)
        _become(command, ours, out, err)
    os.close(ours)
    status = _wait(child, command)
    os.close(theirs)
    return Ended(code=os.waitstatus_to_exitcode(status), stdout=_read(out), stderr=_read(err))


def _wait(child: int, command: Command) -> int:
    ended = os.pidfd_open(child)
    deadline = time.monotonic() + LIMIT_S
    due = bool(command.signal)
    try:
        while not select.select([ended], [], [], 0.005 if due else max(0.0, deadline - time.monotonic()))[0]:
            if due and _sleeps(child):
                os.kill(child, command.signal)
                due = False
            elif time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
    finally:
        os.close(ended)
    return os.waitpid(child, 0)[1]


def _sleeps(child: int) -> bool:
    return "read" in Path(f"/proc/{child}/wchan").read_text() or "pipe" in Path(f"/proc/{child}/wchan").read_text()


def _read(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, size, 0)
    os.close(descriptor)
    return data.decode("utf-8", "backslashreplace")


def _become(command: Command, stdin: int, out: int, err: int) -> None:
    """Be the command: never returns."""
    code = 1
    try:
        os.setsid()
        _forget_capabilities()
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        _set_streams(command, stdin, out, err)
        os.chdir(command.cwd)
        for name, value in command.variables.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        sys.argv = ["admlops", *command.words]
        _open_streams()
        code = _main()
    finally:
        os._exit(code)


def _main() -> int:
    from admlops.cli.start import begin

    try:
        begin()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001  as the interpreter prints whatever escapes
        traceback.print_exc()
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError):
            if stream is sys.stdout:
                traceback.print_exc()
                return 120
    return code


def _set_streams(command: Command, stdin: int, out: int, err: int) -> None:
    nobody, writes = os.pipe()
    os.close(nobody)
    files = {
        (0, "open"): stdin,
        (1, "file"): out,
        (2, "file"): err,
    }
    for descriptor, stream in enumerate((command.stdin, command.stdout, command.stderr)):
        if (descriptor, stream) in files:
            os.dup2(files[descriptor, stream], descriptor)
        elif stream == "no reader":
            os.dup2(writes, descriptor)
        elif stream != "closed":
            os.dup2(os.open("/dev/full" if stream == "full" else os.devnull, os.O_RDWR), descriptor)
    for descriptor, stream in enumerate((command.stdin, command.stdout, command.stderr)):
        if stream == "closed":
            os.close(descriptor)
    limit = 64
    os.closerange(3, limit)


def _open_streams() -> None:
    """Give sys its streams as the interpreter does when it starts."""
    encoding, _, errors = os.environ.get("PYTHONIOENCODING", "").partition(":")
    strict = "surrogateescape" if os.environ.get("LC_ALL") in {"C", "POSIX"} else "strict"
    try:
        codecs.lookup(encoding or "utf-8")
    except LookupError:
        encoding = ""
    sys.stdin = _stream(0, "rb", encoding, errors or strict)
    sys.stdout = _stream(1, "wb", encoding, errors or strict)
    sys.stderr = _stream(2, "wb", encoding, "backslashreplace")
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def _stream(descriptor: int, mode: str, encoding: str, errors: str) -> Any:
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    raw = io.FileIO(descriptor, mode, closefd=False)
    buffered: Any = io.BufferedReader(raw) if mode == "rb" else io.BufferedWriter(raw)
    stream: TextIO = io.TextIOWrapper(
        buffered, encoding=encoding or "utf-8", errors=errors, line_buffering=descriptor == 2
    )
    return stream


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Data(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def _forget_capabilities() -> None:
    """Be held to permissions as anyone else is, root or not."""
    libc = ctypes.CDLL(None, use_errno=True)
    header = _Header(CAPABILITY_VERSION_3, 0)
    data = (_Data * 2)()
    libc.capget(ctypes.byref(header), data)
    dropped = (1 << CAP_DAC_OVERRIDE) | (1 << CAP_DAC_READ_SEARCH)
    data[0].effective &= ~dropped
    data[0].permitted &= ~dropped
    libc.capset(ctypes.byref(header), data)


if __name__ == "__main__":
    serve()
