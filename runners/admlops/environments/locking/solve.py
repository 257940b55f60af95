"""From what is asked of conda to exact packages, by py-rattler.

The solver runs in a process of its own: py-rattler can crash a process that ends normally after using it, and a solve
that is given up must not go on. Packages keep the canonical addresses of their channels, wherever the index is read.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from urllib.parse import urlsplit

from admlops.core.errors import EnvError
from admlops.core.processes import Completed, run
from admlops.environments.locking.conda_inputs import PLATFORM, CondaInputs
from admlops.environments.spec.conda_lock import CANONICAL_HOST, CondaPackage

GLIBC = "2.35"
"""The C library that locks are made for, Ubuntu 22.04's; `virtual-packages.yml` says the same to conda."""
MIRROR_VARIABLE = "ADMLOPS_CONDA_MIRROR"
TIMEOUT_S = 900.0
UNSOLVABLE = 3
"""The exit status of the solver's process when no set of packages answers the request."""


def solve(specification: CondaInputs, *, index: str | None = None) -> tuple[CondaPackage, ...]:
    """Packages that answer a specification, dependencies before those that need them.

    `index` is a folder or an address below which each channel lies under its name; without it, the mirror that
    `ADMLOPS_CONDA_MIRROR` names or the channels' own host is asked.

    Raises:
        EnvError: the index cannot be read, lacks a channel, or has no packages that go together.
    """
    sources = {channel: _source(channel, index) for channel in specification.channels}
    request = {
        "sources": list(sources.values()),
        "specs": [dependency.spec for dependency in specification.dependencies],
        "platforms": [PLATFORM, "noarch"],
        "virtual_packages": [[one.name, one.version, one.build or "0"] for one in specification.virtual_packages],
    }
    program = [sys.executable, "-m", "admlops.environments.locking.solver"]
    completed = run(program, timeout_s=TIMEOUT_S, stdin=json.dumps(request).encode())
    records = _read_answer(completed, specification, sources)
    names = {source: channel for channel, source in sources.items()}
    return tuple(_package(record, names) for record in records)


def _source(channel: str, index: str | None) -> str:
    """Return where to read a channel's index, as a URL that ends with a slash."""
    if index is None:
        return f"{os.environ.get(MIRROR_VARIABLE, CANONICAL_HOST).rstrip('/')}/{channel}/"
    if "://" in index:
        if urlsplit(index).scheme not in ("http", "https", "file"):
            raise EnvError(f"--index {index} is no folder and no http or https address", hint="admlops env lock --help")
        return f"{index.rstrip('/')}/{channel}/"
    folder = Path(index).resolve() / channel
    if not any((folder / subdir).is_dir() for subdir in (PLATFORM, "noarch")):
        raise EnvError(
            f"--index {index} has no channel {channel}: {folder} holds neither {PLATFORM}/ nor noarch/",
            hint="name the folder that holds the channels as folders, such as conda-forge/linux-64/repodata.json",
        )
    return f"{folder.as_uri()}/"


def _read_answer(completed: Completed, specification: CondaInputs, sources: dict[str, str]) -> list[dict[str, object]]:
    said = completed.stderr.strip()
    if completed.returncode == 0:
        records: list[dict[str, object]] = json.loads(completed.stdout)
        return records
    if completed.returncode == UNSOLVABLE:
        raise EnvError(
            f"{specification.file}: no packages of {', '.join(specification.channels)} answer it\n{said}",
            hint=f"see what excludes what above and change {specification.file}",
        )
    raise EnvError(
        f"{specification.file} could not be solved from {', '.join(sources.values())}\n{said}",
        hint="check the address and the network, then run the command again; or name a folder: --index DIR",
    )


def _package(record: dict[str, object], channels: dict[str, str]) -> CondaPackage:
    """A solver's record with its channel's name and canonical address in place of where the index was read."""
    origin = str(record.pop("channel")).rstrip("/") + "/"
    channel = channels[origin]
    url = f"{CANONICAL_HOST}/{channel}/{record['subdir']}/{record['file_name']}"
    return CondaPackage.from_json({**record, "channel": channel, "url": url})
