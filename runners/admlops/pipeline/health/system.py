"""The operating system: kernel, C library, Python, limits of a process, shared memory."""

from __future__ import annotations

import platform
import re
import resource
import shutil
import sys
from collections.abc import Iterator

from admlops.pipeline.health.check import Finding, HealthCheck, Place, Status, judge

LEAST_PYTHON = (3, 11)
LEAST_GLIBC = (2, 28)
"""The wheels of current PyTorch are built for it (manylinux_2_28)."""
LEAST_OPEN_FILES = 1024
LEAST_PROCESSES = 4096
ENOUGH_SHARED_MEMORY_BYTES = 2_000_000_000
"""As the doctor's probe has it: a container has 64 MB unless its image asks for more."""


def _look(place: Place) -> Iterator[Finding]:
    yield Finding(measure="kernel", value=platform.release())
    yield Finding(measure="distribution", value=_distribution(place))
    yield _python()
    yield _c_library()
    yield _open_files()
    yield _processes(place)
    yield _shared_memory(place)


def _distribution(place: Place) -> str | None:
    named = re.search(r'^PRETTY_NAME="?([^"\n]+)', place.read("etc/os-release"), re.MULTILINE)
    return named[1] if named else None


def _python() -> Finding:
    fits = sys.version_info >= LEAST_PYTHON
    return Finding(
        measure="python",
        value=platform.python_version(),
        status="pass" if fits else "fail",
        problem="" if fits else "admlops needs Python 3.11 or newer",
        advice="PYTHON=/path/to/python3.12 ./install/bootstrap.sh --force",
    )


def _c_library() -> Finding:
    name, version = platform.libc_ver()
    known = tuple(int(part) for part in version.split(".")[:2] if part.isdigit())
    fits = name == "glibc" and known >= LEAST_GLIBC
    return Finding(
        measure="C library",
        value=f"{name} {version}".strip() or None,
        status="pass" if fits else "warn",
        problem="" if fits else "packages built for glibc 2.28 and newer, such as PyTorch's, do not load here",
        advice="cat /etc/os-release   # choose an image of Ubuntu 20.04, Debian 11 or newer",
    )


def _open_files() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = soft != resource.RLIM_INFINITY and soft < LEAST_OPEN_FILES
    return Finding(
        measure="open files",
        value="unlimited" if soft == resource.RLIM_INFINITY else soft,
        status="warn" if few else "pass",
        problem="a data loader with many workers opens more" if few else "",
        rule="too-many-open-files",
    )


def _processes(place: Place) -> Finding:
    """Judge the lower of the user's limit and the control group's; threads count."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NPROC)
    limits = [] if soft == resource.RLIM_INFINITY else [soft]
    limits += [int(text) for name in ("pids.max", "pids/pids.max") if (text := _group_file(place, name)).isdigit()]
    status: Status = "pass" if not limits else judge(min(limits), warn_below=LEAST_PROCESSES)
    return Finding(
        measure="processes",
        value=min(limits) if limits else "unlimited",
        status=status,
        problem="" if status == "pass" else "threads count too, and each worker starts dozens",
        advice="ulimit -u; cat /sys/fs/cgroup/pids.max   # export OMP_NUM_THREADS=4, or run fewer --workers",
    )


def _group_file(place: Place, name: str) -> str:
    return place.read(f"sys/fs/cgroup/{name}").strip()


def _shared_memory(place: Place) -> Finding:
    try:
        usage = shutil.disk_usage(place.root / "dev/shm")
    except OSError:
        return Finding(
            measure="shared memory",
            value=None,
            unit="MB",
            status="warn",
            problem="there is none: processes of a data loader cannot share arrays",
            rule="shared-memory-full",
        )
    status = judge(usage.free, warn_below=ENOUGH_SHARED_MEMORY_BYTES)
    return Finding(
        measure="shared memory",
        value=round(usage.free / 1e6),
        unit="MB",
        status=status,
        problem="" if status == "pass" else "a data loader with a few workers takes more of /dev/shm",
        rule="shared-memory-full",
    )


CHECK = HealthCheck(id="system", title="System", look=_look)
