"""The interpreter that has imported the host package, and of which each `python -m admlops` of a test is a fork.

`python tests/fork_server.py DESCRIPTOR` reads requests from the socket DESCRIPTOR and answers each with a process id.
The new process is a child of the process that holds the socket's other end, as if that had started it: clone(2) with
CLONE_PARENT. What the interpreter does before `-m admlops` runs and after it ended is done here in its stead.
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
import platform
import runpy
import signal
import socket
import struct
import sys
import tempfile
import threading
import traceback
import types
from pathlib import Path
from typing import Any, NoReturn

StreamOptions = tuple[str, str, bool]
"""How the interpreter opened a standard stream: encoding, what is done with errors of it, without a buffer or not."""

LENGTH = struct.Struct("!I")
"""Goes before each request, together with its four descriptors: standard input, output, error; the folder to be in."""
ANSWER = struct.Struct("!i")
"""The process id, or the negative number of the error."""

CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220}
"""clone's system call number by machine; where the machine is another one, nothing is forked."""
CLONE_PARENT = 0x8000

LAZY = (
    *("matplotlib.backends.backend_agg", "matplotlib.backends.backend_pdf", "matplotlib.backends.backend_svg"),
    *("matplotlib.figure", "matplotlib.pyplot", "obstore", "pycocotools.mask", "rattler", "rich.progress"),
    *("scipy.optimize", "scipy.sparse", "scipy.spatial", "scipy.stats", "urllib.request"),
)
"""What functions of the host import, beside the host's own modules and what those import."""


def serve(connection: socket.socket) -> NoReturn:
    """Fork as asked, and end when nobody asks any more."""
    ours: Any = (sys.stdin, sys.stdout, sys.stderr)
    streams = [(each.encoding, each.errors, each.write_through) for each in ours]
    import_everything()
    _refuse_what_no_fork_has(connection)
    gc.collect()
    gc.freeze()
    while True:
        header, descriptors, _, _ = socket.recv_fds(connection, LENGTH.size, 4)
        if not header:
            os._exit(0)  # nothing of ours is left to do, and some packages' libraries complain of a long end
        request = json.loads(_read(connection, LENGTH.unpack(header)[0]))
        pid = clone_as_sibling()
        if pid == 0:
            _become(request, descriptors, streams)
        for descriptor in descriptors:
            os.close(descriptor)
        connection.sendall(ANSWER.pack(pid))


def import_everything() -> None:
    """Import the host's modules and what its functions import."""
    # as main() does: no search for plugins of pydantic; and no threads, of which a fork has none
    variables = {"PYDANTIC_DISABLE_PLUGINS": "__all__", "OPENBLAS_NUM_THREADS": "1", "MPLBACKEND": "agg"}
    before = dict(os.environ)
    os.environ.update(variables)
    import admlops

    for module in pkgutil.walk_packages(admlops.__path__, "admlops."):
        if not module.name.endswith("__main__") and ".migrations." not in module.name:  # those are scripts of alembic's
            importlib.import_module(module.name)
    for name in LAZY:
        importlib.import_module(name)
    os.environ.clear()
    os.environ.update(before)


def _refuse_what_no_fork_has(connection: socket.socket) -> None:
    """Threads and open files would be missing in a fork, and a folder for temporary files would be that of us all."""
    threads = [each.name for each in Path("/proc/self/task").iterdir()]
    files = [each.name for each in Path("/proc/self/fd").iterdir() if each.exists()]  # one was that of the listing
    if len(threads) > 1 or not set(files) <= {"0", "1", "2", str(connection.fileno())} or tempfile.tempdir is not None:
        raise RuntimeError(f"an import started threads {threads}, opened files {files} or chose {tempfile.tempdir}")


def _read(connection: socket.socket, length: int) -> bytes:
    data = b""
    while len(data) < length:
        data += connection.recv(length - len(data))
    return data


def clone_as_sibling() -> int:
    """Fork a child of this process's parent: 0 in the child, else its process id or the negative number of the error.

    It does by itself what os.fork does beside the system call, except libc's own handlers, which care for threads.
    """
    system = ctypes.PyDLL(None, use_errno=True)
    number = ctypes.c_long(CLONE_NUMBERS[platform.machine()])
    nothing = ctypes.c_long(0)
    ctypes.pythonapi.PyOS_BeforeFork()
    pid = int(system.syscall(number, ctypes.c_long(CLONE_PARENT | signal.SIGCHLD), nothing, nothing, nothing, nothing))
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    return pid if pid > 0 else -ctypes.get_errno()


def _become(request: dict[str, Any], descriptors: list[int], streams: list[StreamOptions]) -> NoReturn:
    """Be `python -m MODULE` with the words, variables, folder and descriptors of the request."""
    code = 1
    try:
        if request["new_session"]:
            os.setsid()
        os.umask(request["umask"])
        for number, descriptor in enumerate(descriptors[:3]):
            os.dup2(descriptor, number)
        os.fchdir(descriptors[3])
        os.closerange(3, 1 << 20)
        os.environ.clear()
        os.environ.update(request["variables"])
        sys.orig_argv = [sys.executable, "-m", request["module"], *request["words"]]
        sys.argv = ["-m", *request["words"]]
        sys.path.insert(0, str(Path.cwd()))
        sys.modules["__main__"] = types.ModuleType("__main__")
        _open_streams(streams)
        _answer_interrupts(request["ignores_interrupts"])
        code = run_to_the_end(request["module"])
    except BaseException:
        traceback.print_exc()
        raise
    finally:
        os._exit(code)


def _answer_interrupts(ignored: bool) -> None:
    """Let a Ctrl-C that came since the fork end the process, as it does before an interpreter has begun."""
    signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    if not ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def run_to_the_end(module: str) -> int:
    """Run a module as the program, then do what the interpreter does at its end; returns the exit code."""
    interrupted = False
    try:
        runpy._run_module_as_main(module)  # type: ignore[attr-defined]
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException as error:  # noqa: BLE001  as the interpreter prints whatever escapes
        interrupted = isinstance(error, KeyboardInterrupt)
        traceback.print_exception(error.with_traceback(error.__traceback__ and error.__traceback__.tb_next))
        code = 1
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None and not stream.closed:
                stream.flush()
        except (OSError, ValueError) as error:
            if stream is sys.stdout:
                print(f"Exception ignored in: {stream!r}", file=sys.stderr)
                traceback.print_exception(error.with_traceback(None))
                return 120
    if interrupted:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    return code


def _code_of(end: SystemExit) -> int:
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _open_streams(streams: list[StreamOptions]) -> None:
    """Give sys its streams as the interpreter does when it starts."""
    sys.stdin, sys.stdout, sys.stderr = (open_stream(number, *options) for number, options in enumerate(streams))
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr  # type: ignore[misc]


def open_stream(descriptor: int, encoding: str, errors: str, unbuffered: bool) -> Any:
    """Open a standard stream as the interpreter does; None if the descriptor is closed."""
    try:
        os.fstat(descriptor)
    except OSError:
        return None
    mode = "wb" if descriptor else "rb"
    without = unbuffered and descriptor > 0
    binary: Any = open(descriptor, mode, buffering=0 if without else -1, closefd=False)  # noqa: SIM115
    raw = binary if without else binary.raw
    raw.name = f"<{('stdin', 'stdout', 'stderr')[descriptor]}>"
    stream: Any = io.TextIOWrapper(
        binary,
        encoding=codecs.lookup(encoding).name,
        errors=errors,
        newline="\n",
        line_buffering=not unbuffered and (descriptor == 2 or raw.isatty()),
        write_through=unbuffered,
    )
    stream.mode = mode[0]
    return stream


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
    del sys.path[0]
    serve(socket.socket(fileno=int(sys.argv[1])))
