"""Runs whose sensors had a fault: their numbers have protocols of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from admlops.results.header import RunHeader
from admlops.worker.corruptions.fault import PICTURES, Fault, FaultError, read_fault


def fault_of(header: RunHeader) -> Fault | None:
    """Return the fault that a run's sensors had; None for whole ones, and for one of another version."""
    described = header.settings.get("corrupt")
    if not isinstance(described, dict):
        return None
    try:
        return read_fault(described)
    except FaultError:
        return None


def fault_suffix(header: RunHeader) -> str:
    """Return the suffix of a run's protocols: empty where its sensors were whole.

    A fault of another version of ours keeps the suffix of its version.
    """
    described = header.settings.get("corrupt")
    if not isinstance(described, dict):
        return ""
    fault = Fault(str(described["name"]), int(described["level"]), int(described["seed"]))
    stem, _, _ = fault.suffix.rpartition("-v")
    return f"{stem}-v{described['version']}"


def note_fault(header: RunHeader) -> list[str]:
    """Return what a reader of the numbers must know of the fault."""
    fault = fault_of(header)
    if fault is None:
        return []
    noise = ": levels are RoboBEV's, the noise is not" if fault.name in PICTURES else ""
    return [f"the sensors had the fault {fault.label}{noise}; its time is in end_to_end_time, not in inference_time"]


def with_suffix(details: Mapping[str, Any], suffix: str) -> dict[str, Any]:
    """Return the details of a result whose slices have the run's protocol too."""
    slices = details.get("breakdowns")
    if not suffix or not isinstance(slices, Mapping) or "protocol" not in slices:
        return dict(details)
    return {**details, "breakdowns": {**slices, "protocol": f"{slices['protocol']}{suffix}"}}
