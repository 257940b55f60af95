"""Foresees what an installation compiles, and how long that takes, before anything is installed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from packaging.utils import canonicalize_name

from admlops.core.types import Device
from admlops.environments.install.ops.jobs import max_jobs
from admlops.environments.install.ops.key import KEY_VERSION, torch_arch_list
from admlops.environments.install.ops.patches import patches_digest, select_patches
from admlops.environments.install.ops.source import source_sha256
from admlops.environments.install.ops.wheel import KEY_FILE
from admlops.environments.spec.environment_spec import EnvironmentSpec
from admlops.environments.spec.requirements import LockedPackage
from admlops.health.crowding import read_crowding

CORE_MINUTES = {"cpu": 6.5, "cuda": 77.0}
"""What mmcv-full takes of one core, its header precompiled; with CUDA also 55 files of 30 s for 3 architectures."""


def expect_compiling(
    spec: EnvironmentSpec, locked: Iterable[LockedPackage], *, python_version: str, wheels: Path
) -> tuple[str, ...]:
    """List the packages of `spec.compiled` for which no wheel in `wheels` may serve.

    A wheel may serve if its key agrees with what the locks say; the compiler and torch's build become known only in the
    environment, so a wheel may still turn out not to fit.
    """
    there = set(_read_keys(wheels))
    compiled = {canonicalize_name(name) for name in spec.compiled}
    wanted = (package for package in locked if package.name in compiled)
    return tuple(one.name for one in wanted if _known_of(spec, one, python_version) not in there)


def expect_minutes(
    packages: Sequence[str], *, device: Device | None, jobs: int | None, crowding: Callable[[], float] = read_crowding
) -> float:
    """Estimate how long compiling these packages takes on this machine [min]; only its order of magnitude is sure.

    It is multiplied by the number of programs that want each core.
    """
    kind = "cuda" if device == "cuda" else "cpu"
    return len(packages) * CORE_MINUTES[kind] / max_jobs(device=kind, wanted=jobs) * crowding()


def _known_of(spec: EnvironmentSpec, package: LockedPackage, python_version: str) -> tuple[Any, ...]:
    patches = patches_digest(select_patches(spec.patches, package.name))
    cpu = spec.device != "cuda"
    arch = () if cpu else torch_arch_list(spec.arch)
    major, minor = python_version.split(".")[:2]
    source = (package.name, package.version, source_sha256(package), patches)
    return (KEY_VERSION, *source, cpu, arch, f"cpython-{major}{minor}")


def _read_keys(wheels: Path) -> Iterator[tuple[Any, ...]]:
    """Yield the same facts of every wheel that is there; leave out damaged descriptions."""
    for path in wheels.glob(f"*/{KEY_FILE}"):
        with suppress(OSError, ValueError, KeyError, TypeError, AttributeError):
            key = json.loads(path.read_text())["key"]
            source = tuple(key[name] for name in ("name", "version", "source_sha256", "patches"))
            abi = "-".join(key["python"].split("-")[:2])
            yield (key["key_version"], *source, key["cuda"] == "cpu", tuple(key["arch"]), abi)
