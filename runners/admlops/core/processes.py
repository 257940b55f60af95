"""The one place that starts a program and waits for it.

A supervised program, such as a worker, is the exception: `execution.process` starts those itself, with a log and
deadlines of their own, and takes only `process_environment` and `signal_of` from here.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from admlops.core.errors import EnvError
from admlops.worker import parent as parent_link

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 1.0
KILL_TIMEOUT_S = 10.0
"""A process that waits for an unresponsive disk cannot be killed until the disk answers."""

LEAKING_VARIABLES = frozenset(
    (
        # would lead Python, the loader and the compilers to another environment
        *("PYTHONEXECUTABLE", "PYTHONHOME", "PYTHONOPTIMIZE", "PYTHONPATH", "PYTHONPLATLIBDIR", "PYTHONSTARTUP"),
        *("PYTHONUSERBASE", "VIRTUAL_ENV", "VIRTUAL_ENV_PROMPT", "LD_PRELOAD", "LIBRARY_PATH"),
        *("CPATH", "C_INCLUDE_PATH", "CPLUS_INCLUDE_PATH", "CMAKE_PREFIX_PATH", "PKG_CONFIG_PATH"),
        # which compiler to take and how: activation scripts append to these, so they must begin empty
        *("CC", "CXX", "CPP", "CFLAGS", "CXXFLAGS", "CPPFLAGS", "LDFLAGS", "CMAKE_ARGS", "MESON_ARGS"),
        *("CUDA_HOME", "CUDA_PATH", "CUDA_ROOT", "CUDACXX", "CUDAHOSTCXX", "NVCC_APPEND_FLAGS", "NVCC_PREPEND_FLAGS"),
        *("TORCH_CUDA_ARCH_LIST", "TORCH_EXTENSIONS_DIR"),
        # needs a package that no lock has
        "HF_HUB_ENABLE_HF_TRANSFER",
        # images set it to be small: each start of a model would compile all of its Python anew
        "PYTHONDONTWRITEBYTECODE",
    )
)
"""Variables that make one environment see another's files or settings; pod images set several of them."""

LEAKING_PREFIXES = ("PIP_", "UV_", "CONDA_", "_CONDA_", "_CE_", "MAMBA_")
"""The settings of package managers: pod images send pip's cache to a network disk and let it break system packages."""

SECRET_MARKS = ("API_KEY", "SECRET", "TOKEN", "PASSWORD", "CREDENTIAL", "PRIVATE_KEY")
"""A variable whose name holds one of these never reaches a model's process."""


@dataclass(frozen=True, kw_only=True)
class Completed:
    """A program that has ended."""

    returncode: int
    stdout: str
    stderr: str


def process_environment(variables: Mapping[str, str | None]) -> dict[str, str]:
    """Return this process's environment without leaking and secret variables, then `variables`; None unsets one."""
    environment = {
        name: value
        for name, value in os.environ.items()
        if not leaks(name) and not any(mark in name.upper() for mark in SECRET_MARKS)
    }
    libraries = driver_folders(environment.pop("LD_LIBRARY_PATH", ""))
    if libraries:
        environment["LD_LIBRARY_PATH"] = libraries
    environment["PYTHONNOUSERSITE"] = "1"
    for name, value in variables.items():
        if value is None:
            environment.pop(name, None)
        else:
            environment[name] = value
    return environment


def leaks(name: str) -> bool:
    """Tell whether a variable would make an environment see another's files or settings."""
    return name in LEAKING_VARIABLES or name.startswith(LEAKING_PREFIXES)


def driver_folders(search_path: str) -> str:
    """Return the part of an inherited LD_LIBRARY_PATH to keep: the folders where a container mounts the NVIDIA driver.

    CUDA's compatibility libraries hold a libcuda too, and fail on most cards ("Error 804"); they are left out.
    """
    folders = [Path(part) for part in search_path.split(":") if part]
    kept = [folder for folder in folders if (folder / "libcuda.so.1").exists() and "compat" not in folder.parts]
    return ":".join(map(str, kept))


def run(
    command: Sequence[str | Path],
    *,
    timeout_s: float,
    variables: Mapping[str, str | None] | None = None,
    cwd: Path | None = None,
    stdin: bytes | None = None,
    watch: Callable[[int], None] | None = None,
) -> Completed:
    """Run a program in a session of its own and return what it said; on a timeout its whole session is killed.

    A failing program raises nothing: look at `returncode`. `watch` is called with the program's process id
    every second while it runs.

    Raises:
        EnvError: the program is not there, or outlived `timeout_s`.
    """
    environment = process_environment(variables or {})
    program = find_program(str(command[0]), environment.get("PATH", ""))
    log.debug("run %s", shlex.join([program, *(str(argument) for argument in command[1:])]))
    with subprocess.Popen(
        [*dying_with_us(), program, *(str(argument) for argument in command[1:])],
        stdin=subprocess.PIPE if stdin is not None else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=cwd,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            stdout, stderr = _communicate(process, stdin, timeout_s, watch)
        except BaseException as error:  # Ctrl-C too: whatever ends the wait, nothing of the program must outlive it
            kill_session(process.pid)
            if isinstance(error, subprocess.TimeoutExpired):
                raise EnvError(
                    f"{program} did not end within {timeout_s:g} s",
                    hint="run the command again; on a slow disk or network it may need a second try",
                ) from error
            raise
    return Completed(
        returncode=process.returncode,
        stdout=stdout.decode("utf-8", "replace"),
        stderr=stderr.decode("utf-8", "replace"),
    )


def _communicate(
    process: subprocess.Popen[bytes], stdin: bytes | None, timeout_s: float, watch: Callable[[int], None] | None
) -> tuple[bytes, bytes]:
    """Popen.communicate, in steps if somebody watches."""
    if watch is None:
        return process.communicate(stdin, timeout=timeout_s)
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            return process.communicate(stdin, timeout=min(WATCH_INTERVAL_S, max(0.0, deadline - time.monotonic())))
        except subprocess.TimeoutExpired:
            if time.monotonic() >= deadline:
                raise
        stdin = None  # it is on its way: the first call took it
        watch(process.pid)


def die_with_parent() -> None:
    """Ask the kernel to kill this process when the thread that started it ends: nobody waits for its work any more.

    For processes of `multiprocessing`, which otherwise work on, and then wait for ever, when their parent is killed.
    """
    parent = multiprocessing.parent_process()
    parent_link.die_with_parent()
    if parent is not None and not parent.is_alive():
        os._exit(1)


def kill_session(session: int) -> None:
    """Kill every process of a session: killing a group misses compilers, which ninja starts in groups of their own."""
    deadline = time.monotonic() + KILL_TIMEOUT_S
    while time.monotonic() < deadline:
        members = [pid for pid in _processes() if _session_of(pid) == session]
        for pid in members:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if not members:
            return
        time.sleep(0.01)  # until the kernel has taken them away, and in case one has just started another


def _processes() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]  # noqa: PTH208 - names are all that is needed


def _session_of(pid: int) -> int | None:
    """Read the session of a process; None for one that is gone, or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, _, _, session, *_ = stat.rpartition(") ")[2].split(" ")
    return None if state in "ZX" else int(session)


def signal_of(returncode: int) -> str | None:
    """The signal that ended a program, such as SIGBUS, by its exit code; None if it ended by itself."""
    if returncode >= 0:
        return None
    try:
        return signal.Signals(-returncode).name
    except ValueError:
        return f"signal {-returncode}"


def dying_with_us() -> list[str]:
    """Return a prefix that makes the kernel kill a program with us: it must not write on where the next run writes."""
    setpriv = shutil.which("setpriv")  # util-linux, on every Debian and Ubuntu
    return [] if setpriv is None else [setpriv, "--pdeathsig", "KILL", "--"]


def find_program(name: str, search_path: str) -> str:
    """The absolute path of a program, looked up on the *target's* PATH.

    Raises:
        EnvError: not there; the message holds the PATH that was searched.
    """
    found = shutil.which(name, path=search_path)
    if found is None:
        raise EnvError(
            f"the program {name} was not found; PATH was {search_path or '(empty)'}",
            hint="make setup   # or install the program and run the command again",
        )
    return found
