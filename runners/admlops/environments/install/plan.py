"""The plan of one build: what is built, of which locks, by which installer, where; and what it will take."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from admlops.catalog import load_model
from admlops.core.errors import EnvError
from admlops.core.paths import Layout
from admlops.core.types import Progress, Say, Watch
from admlops.environments.install.caches import cache_folder
from admlops.environments.install.installer import ChosenBase, FillContext, choose_base, digest_of
from admlops.environments.install.ops.expected import expect_compiling, expect_minutes
from admlops.environments.install.options import BuildOptions
from admlops.environments.install.preflight import estimate_bytes, preflight
from admlops.environments.install.python_sizes import missing_python_bytes
from admlops.environments.prefix import Environment, prefix_of, write_state
from admlops.environments.reuse.packs import pack_path
from admlops.environments.spec.environment_spec import EnvironmentSpec
from admlops.environments.spec.requirements import LockedPackage, read_lock
from admlops.environments.spec.torch_sources import explain_uncompiled

WATCH_INTERVAL_S = 0.1


@dataclass(frozen=True, kw_only=True)
class BuildPlan:
    """One build, decided before anything is downloaded."""

    layout: Layout
    spec: EnvironmentSpec
    chosen: ChosenBase
    locked: tuple[LockedPackage, ...]
    digest: str
    prefix: Path
    options: BuildOptions
    say: Say

    @property
    def python_version(self) -> str:
        return self.chosen.base.python_version

    @property
    def cache(self) -> Path:
        return cache_folder(self.layout)

    @property
    def fill_context(self) -> FillContext:
        return FillContext(layout=self.layout, cache=self.cache, say=self.say, progress=self.options.progress)

    def load(self) -> Environment | None:
        """Load the environment if it is ready."""
        return Environment.load(self.prefix, digest=self.digest)

    def write_state(self, state: str, details: Mapping[str, Any]) -> None:
        """Write the state file; `details` must not repeat the keys that every state file has."""
        write_state(
            self.prefix,
            name=self.spec.name,
            state=state,
            digest=self.digest,
            installer=self.chosen.installer.id,
            details={"device": self.spec.device, "python": self.python_version, **details},
        )

    def watch(self, phase: str) -> Watch:
        """Make a function that reports how many bytes of a phase are done, a few times a second."""
        said_s = 0.0

        def watch(done: int, total: int) -> None:
            nonlocal said_s
            now = time.monotonic()
            if done == total or now - said_s > WATCH_INTERVAL_S:
                said_s = now
                self.options.progress(Progress(phase=phase, done=done, total=total, unit="bytes"))

        return watch

    def has_pack(self) -> bool:
        """Decide whether a pack may be at hand, without reading it."""
        return self.options.use_packs and pack_path(self.layout.packs, self.prefix).is_file()

    def describe(self) -> str:
        """Say what a build will take: packages, downloads, disk, compiling."""
        base = self.chosen.base
        parts = [f"{base.describe()}, {len(self.locked)} locked Python packages"]
        fetched = {"conda": base.missing_bytes(self.cache), "Python": self.missing_python_bytes()}
        downloads = [
            f"{_size(size)} of {kind} packages" for kind, size in fetched.items() if size is not None and size >= 1e6
        ]
        if downloads:
            parts.append(f"{' and '.join(downloads)} to download")
        addressed = [one.name for one in self.locked if one.url is not None]
        if addressed:
            parts.append(f"{', '.join(addressed)} by address, of a size not known beforehand")
        parts.append(f"about {_size(self.disk_bytes())} on disk")
        compiles = self.compiles()
        if compiles:
            minutes = expect_minutes(compiles, device=self.spec.device, jobs=self.options.jobs)
            parts.append(f"compiles {', '.join(compiles)}, about {minutes:.0f} min on this machine")
        return "; ".join(parts)

    def missing_python_bytes(self) -> int | None:
        """Find out how much of Python packages is to be downloaded [bytes]; None where the index does not say."""
        return missing_python_bytes(self.locked, self.python_version, layout=self.layout)

    def disk_bytes(self) -> int:
        """Estimate what the environment takes on disk [bytes]."""
        return estimate_bytes(self.chosen.base.packages, self.locked, device=self.spec.device)

    def compiles(self) -> tuple[str, ...]:
        """List the packages that will be compiled where no pack is at hand."""
        return expect_compiling(self.spec, self.locked, python_version=self.python_version, wheels=self.layout.wheels)


def make_plan(layout: Layout, spec: EnvironmentSpec, *, say: Say, options: BuildOptions) -> BuildPlan:
    """Plan the build of a specification, and check that the machine is suitable.

    Raises:
        EnvError: a lock is missing or not whole, no installer works here, the machine is unsuitable.
        StorageError: too little disk.
    """
    chosen = choose_base(spec, options.installer, cache=cache_folder(layout))
    if chosen.because:
        say(f"{spec.name} is built by {chosen.installer.id}, because {'; '.join(chosen.because)}")
    locked = locked_packages(spec, chosen.base.python_version)
    digest = digest_of(spec, chosen.installer, chosen.base.python_version)
    plan = BuildPlan(
        layout=layout,
        spec=spec,
        chosen=chosen,
        locked=locked,
        digest=digest,
        prefix=prefix_of(layout, spec.name, digest),
        options=options,
        say=say,
    )
    uncompiled = explain_uncompiled(locked, spec.compiled)
    if uncompiled is not None:
        raise EnvError(f"{spec.name}: {uncompiled}", hint=f"admlops env lock {spec.command_name}   # after that")
    preflight(
        layout,
        spec,
        device=spec.device,
        bytes_needed=plan.disk_bytes(),
        compiles=() if plan.has_pack() else plan.compiles(),
        packages=chosen.base.packages,
        cache=plan.cache,
        model=None if spec.model is None else load_model(layout, spec.model),
        say=say,
    )
    return plan


def locked_packages(spec: EnvironmentSpec, python_version: str) -> tuple[LockedPackage, ...]:
    """Read the packages of a specification's Python locks that are for this version of Python, X.Y.Z."""
    markers = {
        "python_version": ".".join(python_version.split(".")[:2]),
        "python_full_version": python_version,
        "implementation_version": python_version,
    }
    packages = [package for lock in spec.requirements for package in read_lock(lock)]
    return tuple(package for package in packages if package.applies_to(markers))


def _size(size_bytes: int) -> str:
    return f"{size_bytes / 1e9:.1f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.0f} MB"
