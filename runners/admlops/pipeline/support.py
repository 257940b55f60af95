"""Describe this installation and its machine, as a bug report needs it: nothing secret, no name of a user."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from admlops import __version__
from admlops.core.addresses import hide_users, redact
from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout, home_folder
from admlops.core.processes import SECRET_MARKS, find_program, run
from admlops.environments.inventory import list_installed
from admlops.health.disks import describe_disk
from admlops.health.machine import available_memory_bytes, describe_machine
from admlops.results.runs import list_runs
from admlops.sources.provenance import describe_commit

PROGRAMS = {
    "git": (("--version",), r"(\d\S*)"),
    "uv": (("--version",), r"(\d\S*)"),
    "gcc": (("-dumpfullversion",), r"(\d\S*)"),
    "nvcc": (("--version",), r"release (\S+?),"),
    "nvidia-smi": (("--version",), r"NVIDIA-SMI version\s*:\s*(\S+)"),
    "bash": (("--version",), r"version (\S+)"),
}
"""Program → how it is asked for its version, and where the version stands in the answer."""
PROGRAM_S = 10.0
VARIABLES = (
    *("CHECKPOINT_FILE", "CUDA_HOME", "CUDA_VISIBLE_DEVICES", "CUSTOM_CONFIG_FILE", "FORCE_COLOR", "GPU_MEMORY_LIMIT"),
    *("HTTPS_PROXY", "HTTP_PROXY", "INFERENCE_TIMEOUT", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "LOG_LEVEL", "NO_COLOR"),
    *("NO_PROXY", "NVIDIA_DRIVER_CAPABILITIES", "NVIDIA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "PYTHONPATH"),
    *("RUNPOD_GPU_COUNT", "SSL_CERT_FILE", "TERM", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"),
)
"""The variables that are shown beside those that begin with ADMLOPS_; no other is, whatever its name."""


def describe_installation(layout: Layout, *, configuration: Iterable[str] = ()) -> dict[str, Any]:
    """Return versions, machine, disks, programs, environments, runs and settings, ready for JSON.

    Of `configuration`, the files in force, only the paths are told. The home folder is written `~`; users, passwords
    and signatures in addresses are left out.
    """
    facts: dict[str, Any] = {
        "admlops": {"version": __version__, "commit": describe_commit(layout), "folder": str(layout.root)},
        "machine": {
            **describe_machine(),
            "distribution": _distribution(),
            "memory_available_mb": round(available_memory_bytes() / 1e6),
        },
        "disks": [_disk(what, folder) for what, folder in _folders(layout).items()],
        "programs": {name: _program_version(name) for name in PROGRAMS},
        "packages": _packages(),
        "environments": [_environment(one) for one in (list_installed(layout) if layout.is_checkout else ())],
        "runs": len(list_runs(layout)[0]),
        "configuration": list(configuration),
        "variables": dict(sorted(select_variables(os.environ).items())),
    }
    hidden: dict[str, Any] = _hide_home(facts, str(home_folder()))
    return hidden


def select_variables(variables: Mapping[str, str]) -> dict[str, str]:
    """Return the variables that may be shown, without users and passwords in their addresses."""
    shown = {
        name: value
        for name, value in variables.items()
        if (name.startswith("ADMLOPS_") or name.upper() in VARIABLES)
        and not any(mark in name.upper() for mark in SECRET_MARKS)
    }
    return {name: redact(value) if "://" in value else hide_users(value) for name, value in shown.items()}


def _folders(layout: Layout) -> dict[str, Path]:
    return {
        "checkout": layout.root,  # or the package, where it is installed alone
        "repository": layout.repository,
        "environments": layout.environments,
        "temporary files": Path(os.environ.get("TMPDIR") or "/tmp"),  # noqa: S108  only looked at
        "shared memory": Path("/dev/shm"),  # noqa: S108  only looked at
    }


def _disk(what: str, folder: Path) -> dict[str, Any]:
    disk = describe_disk(folder)
    return {"what": what, "folder": str(folder), **({} if disk is None else asdict(disk))}


def _distribution() -> str | None:
    with suppress(OSError):
        named = re.search(r'^PRETTY_NAME="?([^"\n]+)', Path("/etc/os-release").read_text(), re.MULTILINE)
        return named[1] if named else None
    return None


def _program_version(name: str) -> str | None:
    """Return a program's version; None where it is not there, does not answer or says something else."""
    arguments, pattern = PROGRAMS[name]
    try:
        said = run([find_program(name, os.environ.get("PATH", "")), *arguments], timeout_s=PROGRAM_S).stdout
    except AdmlopsError:
        return None
    found = re.search(pattern, said)
    return found[1] if found else None


def _packages() -> dict[str, str]:
    """Return the versions of the packages that the host asks for."""
    versions = {}
    for line in requires("admlops") or ():
        name = Requirement(line).name
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return dict(sorted(versions.items()))


def _environment(one: Any) -> dict[str, Any]:
    facts = {key: one.details.get(key) for key in ("installer", "device", "python", "packages", "size_bytes")}
    return {"name": one.prefix.name, "state": one.state, "asked_for": one.spec is not None, **facts}


def _hide_home(value: Any, home: str) -> Any:
    if isinstance(value, str):
        return re.sub(rf"{re.escape(home)}(?=/|:|$)", "~", value) if len(home) > 1 else value
    if isinstance(value, dict):
        return {key: _hide_home(one, home) for key, one in value.items()}
    if isinstance(value, Iterable) and not isinstance(value, str):
        return [_hide_home(one, home) for one in value]
    return value
