"""Questions to an environment or the machine that settle whether a rule applies.

A probe answers with what it saw, which goes into the diagnosis; with REFUTED if the rule cannot be the cause; or with
None where nothing can be known: a log from another machine has no environment to look at.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REFUTED = ""
FIRST_WHOLE_MMCV = Version("2.0.0rc0")
"""From here on the package mmcv is what mmcv-full was, and without operations it is called mmcv-lite."""
ENOUGH_SHARED_MEMORY_BYTES = 2_000_000_000
"""A pod's container has 64 MB unless its image asks for more; a loader with four workers takes some hundred."""


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a failure happened. `prefix` is the environment's folder."""

    prefix: Path | None = None
    shared_memory: Path = Path("/dev/shm")  # noqa: S108  asked for its size

    def installed_versions(self) -> dict[str, str]:
        """The Python packages in the prefix, by canonical name; empty without a prefix."""
        if self.prefix is None:
            return {}
        folders = [str(path) for path in self.prefix.glob("lib/python3*/site-packages")]
        found = ((one.metadata["Name"], one.version) for one in distributions(path=folders))
        return {canonicalize_name(name): version for name, version in found if name}


Probe = Callable[[Site, str | None], str | None]


def version(site: Site, wants: str | None) -> str | None:
    """Tell whether the environment has another version of a package than the requirement `wants`."""
    assert wants is not None
    wanted = Requirement(wants)
    installed = site.installed_versions().get(canonicalize_name(wanted.name))
    if installed is None:
        return None
    fits = wanted.specifier.contains(installed, prereleases=True)
    return REFUTED if fits else f"{wanted.name} {installed} is installed"


def lite_mmcv(site: Site, _: str | None) -> str | None:
    """Tell whether the package mmcv of before 2.0 is there: mmcv-full and it overwrite each other's files."""
    installed = site.installed_versions()
    if not installed:
        return None
    lite = "mmcv" in installed and Version(installed["mmcv"]) < FIRST_WHOLE_MMCV
    return f"mmcv {installed['mmcv']} is installed" if lite else REFUTED


def shared_memory(site: Site, _: str | None) -> str | None:
    """Tell whether the machine's shared memory is small."""
    try:
        total = shutil.disk_usage(site.shared_memory).total
    except OSError:
        return None
    return REFUTED if total >= ENOUGH_SHARED_MEMORY_BYTES else f"it has {total / 1e6:.0f} MB"


PROBES: Mapping[str, Probe] = {"version": version, "lite_mmcv": lite_mmcv, "shared_memory": shared_memory}
