"""The GPUs of this machine, and which compiled kernels run on them.

A kernel compiled for sm_XY runs on every GPU of the same major version X and a minor version of at least Y, and on no
other major version; `a` (architecture-specific) code runs on exactly sm_XY. The driver compiles PTX (`compute_XY`) for
any GPU from X.Y on. Source: NVIDIA's CUDA C++ Programming Guide, "Binary Compatibility" and "PTX Compatibility".
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import EnvError
from admlops.health.machine import Gpus

log = logging.getLogger(__name__)

Capability = tuple[int, int]

_ARCH = re.compile(r"(sm|compute)_(\d+)(\d)([af]?)")

KNOWN_NAMES: tuple[tuple[str, Capability], ...] = (
    ("RTX PRO", (12, 0)),
    ("RTX 50", (12, 0)),
    ("B300", (10, 3)),
    ("B200", (10, 0)),
    ("H100", (9, 0)),
    ("H200", (9, 0)),
    ("L40", (8, 9)),
    ("L4", (8, 9)),
    ("Ada", (8, 9)),
    ("RTX 40", (8, 9)),
    ("A40", (8, 6)),
    ("RTX A", (8, 6)),
    ("RTX 30", (8, 6)),
    ("A100", (8, 0)),
    ("A30", (8, 0)),
    ("T4", (7, 5)),
    ("RTX 20", (7, 5)),
    ("V100", (7, 0)),
)
"""Cards that pods offer, for a driver that names a MIG slice but does not say what it can compute."""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One NVIDIA GPU, or one MIG slice. None where the driver does not say."""

    name: str
    compute_capability: Capability | None
    driver: str | None
    memory_mb: float | None

    @property
    def arch(self) -> str:
        """`sm_90` for compute capability 9.0."""
        return "sm_?" if self.compute_capability is None else "sm_{}{}".format(*self.compute_capability)


def detect_gpus(nvml: Any = None) -> tuple[Gpu, ...]:
    """Return the GPUs that NVML names; empty without an NVIDIA driver. `nvml` stands for the driver's library.

    A GPU that the driver lists and that does not answer is left out with a warning.

    Raises:
        EnvError: there is a driver, and it fails: nobody can say which GPUs there are.
    """
    described = Gpus(nvml).describe()
    refuse_failing_driver(described)
    for lost in described["lost"]:
        log.warning("%s; nvidia-smi shows it, and a restart of the pod may bring it back", lost)
    return tuple(
        Gpu(
            name=device["name"] or "an NVIDIA GPU",
            compute_capability=capability_of(device["compute_capability"], device["name"] or ""),
            driver=described["driver"],
            memory_mb=device["memory_mb"],
        )
        for device in described["devices"]
    )


def refuse_failing_driver(described: Mapping[str, Any]) -> None:
    """Raise EnvError if a machine's description names a problem of its driver, or no GPU but lost ones."""
    problem = described.get("problem")
    lost = [] if described["devices"] else described.get("lost") or []
    if problem or lost:
        raise EnvError(
            f"this machine has an NVIDIA driver, and it fails: {problem or '; '.join(lost)}",
            hint="nvidia-smi   # if it fails too, restart the pod or move on; or ask for the CPU by --device cpu",
        )


def lost_gpus(nvml: Any = None) -> str | None:
    """Name the GPUs that the driver counts and that do not answer; None if all do."""
    lost = Gpus(nvml).lost
    if not lost:
        return None
    named = ", ".join(f"GPU {index} ({said})" for index, said in lost.items())
    return f"{len(lost)} of this machine's GPUs {'does' if len(lost) == 1 else 'do'} not answer: {named}"


def find_loss(uuid: str, nvml: Any = None) -> str | None:
    """Say that the driver no longer has the GPU with this uuid; None if it answers, or nobody can say.

    A card that falls off the bus (Xid 79) is one that the driver counts and cannot open, or is in none of its lists.
    """
    found = Gpus(nvml)
    if found.problem is not None:
        return f"the NVIDIA driver fails: {found.problem}"
    there = {found.ask("nvmlDeviceGetUUID", handle) for _, handle in found.handles}
    if uuid in there or not (there or found.lost):
        return None
    seen = "; ".join(f"GPU {index}: {said}" for index, said in found.lost.items()) or "it is not in the driver's list"
    return f"the driver no longer has {uuid} ({seen})"


def capability_of(stated: str | None, name: str) -> Capability | None:
    if stated is not None:
        major, _, minor = stated.partition(".")
        return int(major), int(minor)
    return next((capability for known, capability in KNOWN_NAMES if re.search(rf"\b{known}", name)), None)


def runs_on(archs: Iterable[str], gpu: Gpu) -> bool:
    """Say whether code for these architectures runs on a GPU. Code without kernels (an empty list) runs anywhere."""
    stated = list(archs)
    if not stated or gpu.compute_capability is None:
        return True
    return any(_runs(arch, gpu.compute_capability) for arch in stated)


def _runs(arch: str, capability: Capability) -> bool:
    matched = _ARCH.fullmatch(arch)
    if matched is None:
        return False
    kind, suffix = matched[1], matched[4]
    compiled_for = (int(matched[2]), int(matched[3]))
    if suffix == "a":
        return compiled_for == capability
    if kind == "compute":
        return capability >= compiled_for
    return capability[0] == compiled_for[0] and capability[1] >= compiled_for[1]


def missing_gpu(nvml: Any = None, variables: Mapping[str, str] | None = None) -> str | None:
    """Say why a GPU that should be here is not; None if none should. `variables` stand for the process's own.

    A driver may be there and fail; a stopped pod can come back on a machine without a free GPU.
    """
    found = Gpus(nvml)
    if found.problem is not None:
        return f"this machine has an NVIDIA driver, but it does not answer: {found.problem}"
    if found.lost and not found.read():
        return lost_gpus(nvml)
    count = rented_gpus(os.environ if variables is None else variables)
    boards = {index for index, _ in found.handles} | found.lost.keys()
    if len(boards) >= count:
        return None
    shown = f"only {len(boards)}" if boards else "none"
    return f"this pod was rented with {count} GPU{'' if count == 1 else 's'}, but its driver shows {shown}"


def rented_gpus(variables: Mapping[str, str]) -> int:
    """Return how many GPUs a pod was rented with; 0 on any other machine."""
    count = variables.get("RUNPOD_GPU_COUNT", "")
    return int(count) if "RUNPOD_POD_ID" in variables and count.isascii() and count.isdigit() else 0
