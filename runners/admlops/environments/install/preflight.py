"""Failures that can be foreseen before the first byte is downloaded: disk, memory, C library, driver, GPU."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from packaging.specifiers import SpecifierSet
from packaging.version import InvalidVersion, Version

from admlops.core.errors import EnvError, StorageError
from admlops.core.paths import Layout
from admlops.core.types import Device, Say
from admlops.environments.spec.requirements import LockedPackage
from admlops.health.disks import find_file_system
from admlops.health.gpus import Gpu, detect_gpus, lost_gpus, missing_gpu, runs_on
from admlops.health.machine import available_memory_bytes

if TYPE_CHECKING:
    from admlops.catalog import Model


COMPILE_BYTES = 3_000_000_000
"""What one compiler of a CUDA file and its linker take: mmcv's largest take 2.2 GB."""
EXTRACTED_PER_COMPRESSED = 4.0
"""conda's zstd archives of compilers and CUDA: 2.2 to 3.8 times larger on disk."""
RESERVE_BYTES = 500_000_000
PYTHON_PACKAGE_BYTES = 25_000_000
LARGE_PYTHON_PACKAGES = {
    "torch": 2_000_000_000,
    "triton": 600_000_000,
    "polars-runtime-32": 150_000_000,
    "opencv-python-headless": 150_000_000,
    "llvmlite": 130_000_000,
    "scipy": 110_000_000,
    "ortools": 100_000_000,
    "numpy": 80_000_000,
}
CUDA_PYTHON_PACKAGE_BYTES = 270_000_000
"""The mean of the `nvidia-*` wheels that torch 2.10 wants: 15 of them, 4 GB installed."""

SLOW_FILE_SYSTEMS = ("nfs", "nfs4", "cifs", "smb3", "ceph", "lustre", "glusterfs", "beegfs")


class BuildRequirements(Protocol):
    """What the checks ask of a specification."""

    @property
    def name(self) -> str: ...
    @property
    def arch(self) -> tuple[str, ...]: ...
    @property
    def driver(self) -> str | None: ...


class SizedPackage(Protocol):
    """What the checks ask of a conda lock's package."""

    @property
    def size_bytes(self) -> int | None: ...
    @property
    def depends(self) -> Sequence[str]: ...


def preflight(
    layout: Layout,
    wanted: BuildRequirements,
    *,
    device: Device | None,
    bytes_needed: int,
    compiles: Sequence[str] = (),
    packages: Sequence[SizedPackage] = (),
    cache: Path | None = None,
    gpus: Sequence[Gpu] | None = None,
    model: Model | None = None,
    say: Say,
) -> None:
    """Refuse a build that cannot succeed, and say what may disappoint, before anything is downloaded.

    Args:
        layout: where environments go.
        wanted: the specification.
        device: what the environment is for; None where it is the same for GPU and CPU.
        bytes_needed: what the environment takes on disk, see `estimate_bytes`.
        compiles: the packages that will be compiled, see `ops.expected`.
        packages: the packages that the installer brings.
        cache: where their archives are kept.
        gpus: what `detect_gpus` gave; asked if None.
        model: whose variant it is; a refusal names its other variants.
        say: takes remarks that are no errors.

    Raises:
        EnvError: the GPU, the driver, the C library or the memory is unsuitable.
        StorageError: the disk is unsuitable.
    """
    _check_disk(layout, bytes_needed=bytes_needed, packages=packages, cache=cache, say=say)
    if compiles:
        _check_memory(wanted, compiles)
    _check_glibc(wanted, packages)
    lost = lost_gpus() if gpus is None else None
    if lost is not None:
        say(f"{lost}; the others are used")
    if device != "cpu":
        _check_gpus(wanted, detect_gpus() if gpus is None else gpus, model=model, device=device, say=say)


def choose_variant(model: Model, gpus: Sequence[Gpu]) -> str:
    """The variant for `--variant auto`: the model's default one if every GPU runs it, else the first other that does.

    Raises:
        EnvError: no variant runs on these GPUs; says which run where.
    """
    names = [model.default_variant, *(name for name in model.variants if name != model.default_variant)]
    for name in names:
        if all(runs_on(model.variants[name].arch, gpu) for gpu in gpus):
            return name
    described = ", ".join(sorted({f"{gpu.name} ({gpu.arch})" for gpu in gpus}))
    variants = "; ".join(f"{name}: {_list_archs(model.variants[name].arch)}" for name in names)
    raise EnvError(
        f"no variant of {model.name} runs on {described}; they have kernels for: {variants}",
        hint=f"admlops env install {model.name} --device cpu   # or rent a GPU of one of these architectures",
    )


def choose_device(gpus: Sequence[Gpu]) -> Device:
    """`cuda` where there is a GPU, else `cpu`.

    Raises:
        EnvError: a rented GPU is missing, so that neither answer would be what the user pays for.
    """
    reason = None if gpus else missing_gpu()
    if reason is not None:
        raise EnvError(
            reason, hint="nvidia-smi   # if it shows none, move to another pod; or ask for the CPU by --device cpu"
        )
    return "cuda" if gpus else "cpu"


def estimate_bytes(packages: Iterable[SizedPackage], python: Iterable[LockedPackage], *, device: Device | None) -> int:
    """Return what an environment takes on disk: conda packages by their sizes, Python packages by typical sizes."""
    conda = sum((package.size_bytes or 0) * EXTRACTED_PER_COMPRESSED for package in packages)
    return round(conda + sum(_python_bytes(package.name, device) for package in python))


def _python_bytes(name: str, device: Device | None) -> int:
    if name.startswith("nvidia-") or (name == "triton" and device == "cpu"):
        return CUDA_PYTHON_PACKAGE_BYTES
    return LARGE_PYTHON_PACKAGES.get(name, PYTHON_PACKAGE_BYTES)


def _check_disk(
    layout: Layout, *, bytes_needed: int, packages: Sequence[SizedPackage], cache: Path | None, say: Say
) -> None:
    folder = _existing(layout.environments)
    needs = {folder.stat().st_dev: (folder, bytes_needed + RESERVE_BYTES)}
    if cache is not None:
        kept = _existing(cache)
        archives = sum(package.size_bytes or 0 for package in packages)
        before = needs.get(kept.stat().st_dev, (kept, RESERVE_BYTES))
        needs[kept.stat().st_dev] = (before[0], before[1] + archives)
    for where, needed in needs.values():
        free = shutil.disk_usage(where).free
        if free < needed:
            raise StorageError(
                f"{where} has {free / 1e9:.1f} GB free; this needs about {needed / 1e9:.1f} GB",
                hint=f"df -h {where}   # admlops env gc frees some; or export ADMLOPS_ENVIRONMENTS=/a/larger/disk",
            )
    kind = find_file_system(folder)
    if kind in SLOW_FILE_SYSTEMS or kind.startswith("fuse."):
        say(
            f"{folder} is on a network disk ({kind}): Python starts slowly from there. "
            "Better: export ADMLOPS_ENVIRONMENTS=/a/local/disk"
        )


def _existing(path: Path) -> Path:
    return next(folder for folder in (path, *path.parents) if folder.exists())


def _check_memory(wanted: BuildRequirements, compiles: Sequence[str]) -> None:
    available = available_memory_bytes()
    if available < COMPILE_BYTES:
        raise EnvError(
            f"{wanted.name}: {available / 1e9:.1f} GB of memory are free; compiling {', '.join(compiles)} "
            f"takes {COMPILE_BYTES / 1e9:.0f} GB at least",
            hint="free -g   # stop what takes it, or choose a pod with more memory",
        )


def _check_glibc(wanted: BuildRequirements, packages: Iterable[SizedPackage]) -> None:
    needed = _needed_glibc(packages)
    have = _glibc_version()
    if have is None or needed is None or have >= needed:
        return
    raise EnvError(
        f"{wanted.name}: its lock needs glibc {needed} or newer; this system has {have}",
        hint="choose a pod image with a newer Ubuntu or Debian: 22.04 and 12 have 2.35 and 2.36",
    )


def _needed_glibc(packages: Iterable[SizedPackage]) -> Version | None:
    """The largest `__glibc >=X.Y` that any package of the lock depends on."""
    stated = (
        re.match(r"__glibc\s*>=\s*([0-9.]*[0-9])", requirement)
        for package in packages
        for requirement in package.depends
    )
    return max((Version(found[1]) for found in stated if found), default=None)


def _glibc_version() -> Version | None:
    try:
        answer = os.confstr("CS_GNU_LIBC_VERSION") or ""
    except (ValueError, OSError):
        return None
    version = answer.removeprefix("glibc ").strip()
    return Version(version) if re.fullmatch(r"[0-9.]+", version) else None


def _check_gpus(
    wanted: BuildRequirements, gpus: Sequence[Gpu], *, model: Model | None, device: Device | None, say: Say
) -> None:
    if not gpus:
        if device == "cuda":
            say(f"no GPU here: {wanted.name} is built for CUDA without one, and cannot be tried")
        return
    for gpu in gpus:
        if not runs_on(wanted.arch, gpu):
            raise _unsupported(wanted, gpu, model)
        check_driver(wanted, gpu)


def _unsupported(wanted: BuildRequirements, gpu: Gpu, model: Model | None) -> EnvError:
    message = (
        f"{wanted.name} has kernels for {_list_archs(wanted.arch)}; "
        f"this machine's {gpu.name} is {gpu.arch} and runs none of them"
    )
    if model is None:
        return EnvError(message, hint="admlops models list   # shows what else can run here")
    others = {name: pins.arch for name, pins in model.variants.items() if f"{model.name}-{name}" != wanted.name}
    listed = "; ".join(f"{name}: {_list_archs(archs)}" for name, archs in others.items())
    fitting = next((name for name, archs in others.items() if runs_on(archs, gpu)), None)
    if fitting is None:
        hint = f"admlops env install {model.name} --device cpu   # or rent another GPU"
    else:
        hint = f"admlops env install {model.name} --variant {fitting}"
    return EnvError(f"{message} ({listed})" if listed else message, hint=hint)


def check_driver(wanted: BuildRequirements, gpu: Gpu) -> None:
    if wanted.driver is None or gpu.driver is None:
        return
    try:
        meets = Version(gpu.driver) in SpecifierSet(wanted.driver)
    except InvalidVersion:
        return
    if not meets:
        raise EnvError(
            f"{wanted.name} needs an NVIDIA driver {wanted.driver}; this machine has {gpu.driver}",
            hint="choose a pod on a host with a newer driver: the CUDA version filter when renting",
        )


def _list_archs(archs: Sequence[str]) -> str:
    return ", ".join(archs) or "any (it has none of its own)"
