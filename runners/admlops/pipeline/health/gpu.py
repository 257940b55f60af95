"""The GPUs: their number, their driver against what the environments need, and what the cards say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from admlops.core.errors import EnvError
from admlops.environments.install.preflight import check_driver
from admlops.environments.inventory import InstalledEnvironment, list_installed
from admlops.health.gpus import Gpu, capability_of, missing_gpu, runs_on
from admlops.health.machine import Gpus
from admlops.pipeline.health.check import Finding, HealthCheck, Place, judge

HOT_C = 88.0
"""Data-centre cards slow down from about this temperature on."""
THERMAL_REASONS = 0x20 | 0x40
"""NVML's bits for a clock that was lowered for heat, by software and by hardware."""
VOLATILE, UNCORRECTED = 0, 1
NOT_SHOWN = ("", "void", "none")
"""Values of NVIDIA_VISIBLE_DEVICES with which a container gets no GPU."""


def _look(place: Place) -> Iterator[Finding]:
    gpus = Gpus(place.nvml)
    described = gpus.describe()
    yield _judge_driver(described)
    installed = [one for one in list_installed(place.layout) if one.state == "ready"] if _has_models(place) else []
    yield judge_presence(
        place, described, wanted=[one.name for one in installed if one.details.get("device") == "cuda"]
    )
    for lost in described["lost"]:
        yield Finding(measure="answers", value=False, subject=lost, status="fail", problem=lost, rule="gpu-broken")
    for (_, handle), device in zip(gpus.handles, described["devices"], strict=True):
        yield from _look_at_card(gpus, handle, device)
    for one in installed:
        yield from _hold_against(one, described)


def _has_models(place: Place) -> bool:
    return place.layout.is_checkout


def _judge_driver(described: Mapping[str, Any]) -> Finding:
    problem = described["problem"]
    rule = "driver-and-libraries-apart" if problem and "mismatch" in problem.lower() else "driver-not-running"
    return Finding(
        measure="driver",
        value=described["driver"] or "none",
        status="fail" if problem else "pass",
        problem=f"there is a driver, and it fails: {problem}" if problem else "",
        rule=rule,
    )


def judge_presence(place: Place, described: Mapping[str, Any], *, wanted: list[str] | None = None) -> Finding:
    """Judge how many GPUs there are against how many there should be.

    A pod says how many it was rented with; a container's NVIDIA_VISIBLE_DEVICES, or an environment built for CUDA,
    only hints that there should be one. `described` is what `Gpus.describe` gave.
    """
    count = len(described["devices"])
    reason = missing_gpu(place.nvml, place.variables)
    if reason is not None:
        move = "nvidia-smi   # stop this pod and start it on another machine, or rent another" if place.is_pod else ""
        return Finding(measure="count", value=count, status="fail", problem=reason, advice=move, rule="no-gpu")
    hint = "" if count else _hint_of_gpus(place, wanted or [])
    return Finding(measure="count", value=count, status="warn" if hint else "pass", problem=hint, rule="no-gpu")


def _hint_of_gpus(place: Place, wanted: list[str]) -> str:
    """Say why a GPU is expected on a machine that has none; empty if none is."""
    if place.variables.get("NVIDIA_VISIBLE_DEVICES", "") not in NOT_SHOWN:
        return "NVIDIA_VISIBLE_DEVICES asks for GPUs, and there is none: models run on the CPU"
    if wanted:
        return f"{', '.join(wanted)} {'is' if len(wanted) == 1 else 'are'} built for CUDA, and there is no GPU"
    return ""


def _look_at_card(gpus: Gpus, handle: Any, device: Mapping[str, Any]) -> Iterator[Finding]:
    subject = f"GPU {device['index']}"
    capability = device["compute_capability"]
    yield Finding(measure="name", value=f"{device['name']}, compute capability {capability}", subject=subject)
    is_slice = bool(gpus.ask("nvmlDeviceIsMigDeviceHandle", handle))
    yield Finding(measure="divided (MIG)", value=is_slice, subject=subject)
    memory = gpus.ask("nvmlDeviceGetMemoryInfo", handle)
    if memory is not None:
        free = memory.total - memory.used
        status = judge(free, warn_below=memory.total / 10)
        yield Finding(
            measure="free memory",
            value=round(free / 1e6),
            unit="MB",
            subject=subject,
            status=status,
            problem="" if status == "pass" else "other processes fill this GPU",
            rule="gpu-busy",
        )
    if not is_slice:
        yield from _look_at_board(gpus, handle, subject)


def _look_at_board(gpus: Gpus, handle: Any, subject: str) -> Iterator[Finding]:
    temperature = gpus.ask("nvmlDeviceGetTemperature", handle, 0)
    if temperature is not None:
        reasons = gpus.ask("nvmlDeviceGetCurrentClocksThrottleReasons", handle) or 0
        hot = temperature >= HOT_C or bool(reasons & THERMAL_REASONS)
        yield Finding(
            measure="temperature",
            value=float(temperature),
            unit="C",
            subject=subject,
            status="warn" if hot else "pass",
            problem="it is hot and slows down: times measured now are not its own" if hot else "",
            advice="nvidia-smi -q -d TEMPERATURE,PERFORMANCE   # measure later, or on another machine",
        )
    errors = gpus.ask("nvmlDeviceGetTotalEccErrors", handle, UNCORRECTED, VOLATILE)
    if errors is not None:
        yield Finding(
            measure="uncorrected memory errors",
            value=int(errors),
            subject=subject,
            status="fail" if errors else "pass",
            problem="its memory gave wrong bits since the driver was loaded" if errors else "",
            rule="gpu-broken",
        )


def _hold_against(one: InstalledEnvironment, described: Mapping[str, Any]) -> Iterator[Finding]:
    """Check the driver and the GPUs against what one environment was built for; yield nothing if both will do."""
    spec = one.spec
    if spec is None or one.details.get("device") == "cpu":
        return
    for gpu in {_as_gpu(device, described["driver"]) for device in described["devices"]}:
        try:
            check_driver(spec, gpu)
        except EnvError as error:
            yield Finding(
                measure="driver for an environment",
                value=gpu.driver,
                subject=one.name,
                status="fail",
                problem=error.message,
                advice=error.hint,
            )
        if not runs_on(spec.arch, gpu):
            yield Finding(
                measure="kernels of an environment",
                value=gpu.arch,
                subject=one.name,
                status="fail",
                problem=f"{one.name} has kernels for {', '.join(spec.arch)}, and {gpu.name} is {gpu.arch}",
                rule="no-kernel-for-this-gpu",
            )


def _as_gpu(device: Mapping[str, Any], driver: str | None) -> Gpu:
    name = str(device["name"] or "an NVIDIA GPU")
    return Gpu(
        name=name,
        compute_capability=capability_of(device["compute_capability"], name),
        driver=driver,
        memory_mb=device["memory_mb"],
    )


CHECK = HealthCheck(id="gpu", title="GPUs", look=_look)
