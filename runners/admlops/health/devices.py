"""Choosing the devices of a run: the CPU, or GPUs that CUDA_VISIBLE_DEVICES lets us see.

A GPU's id is `cuda:N`, N its place among the visible ones, as torch counts. CUDA shows a process one slice of a divided
GPU (MIG) at most, so a worker on a slice sees that one alone, as its `cuda:0`.
Source: NVIDIA's CUDA C++ Programming Guide, "CUDA Environment Variables"; MIG User Guide, "CUDA_VISIBLE_DEVICES".
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from admlops.core.errors import UsageError
from admlops.core.types import Device
from admlops.health.gpus import missing_gpu, refuse_failing_driver

VISIBLE = "CUDA_VISIBLE_DEVICES"
AUTO, EVERY = "auto", ("all", "cuda")
_NUMBERED = re.compile(r"cuda:(0|[1-9][0-9]{0,3})")


@dataclass(frozen=True, kw_only=True)
class ComputeDevice:
    """A device that workers run on.

    `id` is the name in options and headers, `id_in_worker` what the adapter is told, `variables` what a worker's
    process needs in its environment to see it under that name.
    """

    id: str
    kind: Device
    name: str
    uuid: str | None = None
    memory_mb: float | None = None
    id_in_worker: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)

    def without(self, lost: Collection[str]) -> ComputeDevice:
        """Return the device as a new process is to see it when the GPUs with these uuids are gone.

        CUDA's list ends at the first GPU that is not there, so those behind it would not be seen either.
        """
        visible = self.variables.get(VISIBLE, "").split(",")
        left = [uuid for uuid in visible if uuid not in lost]
        if len(left) == len(visible) or self.uuid not in left:
            return self
        return replace(
            self,
            id_in_worker=f"cuda:{left.index(str(self.uuid))}",
            variables={**self.variables, VISIBLE: ",".join(left)},
        )


def choose_devices(asked: str, machine: Mapping[str, Any]) -> tuple[ComputeDevice, ...]:
    """Return the devices that `asked` names: `auto`, `all`, `cpu`, or a list such as `cuda:0,cuda:2`.

    `auto` is every visible GPU, or the CPU where there is none. `machine` is what `describe_machine` gave.

    Raises:
        UsageError: not a device, not one of this machine, named twice, or GPUs of different models.
        EnvError: the driver fails, so that nobody can say which GPUs there are.
    """
    wanted = [name.strip().lower() for name in asked.split(",")]
    if wanted == ["cpu"]:
        return (_cpu(machine),)
    for name in wanted:
        if name not in (AUTO, *EVERY, "cpu") and _NUMBERED.fullmatch(name) is None:
            raise _unknown(name, machine)
    if len(wanted) > 1 and not all(_NUMBERED.fullmatch(name) for name in wanted):
        raise UsageError(
            f"--device {asked} mixes devices of different kinds", hint="pass cpu, all, or a list such as cuda:0,cuda:1"
        )
    twice = next((name for name in wanted if wanted.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"--device {asked} names {twice} twice", hint="add --workers 2 for two workers on each GPU")
    return _choose_gpus(wanted, machine)


def visible_devices(machine: Mapping[str, Any], visible: str | None) -> tuple[ComputeDevice, ...]:
    """Return the GPUs that a process with this CUDA_VISIBLE_DEVICES sees, in its order; None: the variable is unset.

    As in CUDA, the list ends at its first entry that names no GPU.

    Raises:
        UsageError: the variable names GPUs, and this machine has none of them.
    """
    there = list(machine["gpus"]["devices"])
    chosen = there if visible is None else _pick(there, visible)
    names = [entry.strip() for entry in (visible or "").split(",")]
    if there and not chosen and names[0] not in ("", "-1", "NoDevFiles", "none", "void"):
        raise UsageError(
            f"{VISIBLE}={visible} names no GPU of this machine; it has: {_list(there)}",
            hint=f"unset {VISIBLE}   # or name GPUs by their numbers, such as 0,1; nvidia-smi -L lists them",
        )
    return tuple(_gpu(number, device, chosen) for number, device in enumerate(chosen))


def _choose_gpus(wanted: list[str], machine: Mapping[str, Any]) -> tuple[ComputeDevice, ...]:
    refuse_failing_driver(machine["gpus"])
    visible = visible_devices(machine, os.environ.get(VISIBLE))
    if wanted == [AUTO]:
        if not visible:
            if not machine["gpus"]["devices"] and (reason := missing_gpu()) is not None:
                raise UsageError(reason, hint="nvidia-smi   # move to another pod, or ask for the CPU by --device cpu")
            return (_cpu(machine),)
        return tuple(device for device in visible if device.name == visible[0].name)
    if wanted[0] in EVERY and visible:
        chosen = visible
    else:
        known = {device.id: device for device in visible}
        unknown = next((name for name in wanted if name not in known), None)
        if unknown is not None:
            raise _unknown(unknown, machine)
        chosen = tuple(known[name] for name in wanted)
    if len({device.name for device in chosen}) > 1:
        raise UsageError(
            "the times and records of a run belong to one model of GPU; these are "
            + ", ".join(f"{device.id} ({device.name})" for device in chosen),
            hint="name those of one model, such as --device "
            + ",".join(device.id for device in chosen if device.name == chosen[0].name),
        )
    return chosen


def _pick(there: Sequence[Mapping[str, Any]], visible: str) -> list[Mapping[str, Any]]:
    picked: list[Mapping[str, Any]] = []
    for entry in visible.split(","):
        device = _find(there, entry.strip())
        if device is None or device in picked:  # CUDA sees nothing at all of a list with one GPU twice
            return picked if device is None else []
        picked.append(device)
    return picked


def _find(there: Sequence[Mapping[str, Any]], entry: str) -> Mapping[str, Any] | None:
    if entry.isdigit():
        return next((one for place, one in enumerate(there) if one.get("index", place) == int(entry)), None)
    if not entry.startswith(("GPU-", "MIG-")):
        return None
    found = [device for device in there if str(device.get("uuid") or "").startswith(entry)]
    return found[0] if len(found) == 1 else None


def _gpu(number: int, device: Mapping[str, Any], visible: Sequence[Mapping[str, Any]]) -> ComputeDevice:
    uuid = device.get("uuid")
    is_slice = str(uuid).startswith("MIG-")
    uuids = [str(one["uuid"]) for one in visible if one.get("uuid")]
    variables: dict[str, str] = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}  # CUDA's own order puts the fastest GPU first
    if is_slice:
        variables[VISIBLE] = str(uuid)
    elif len(uuids) == len(visible):
        variables[VISIBLE] = ",".join(uuids)
    return ComputeDevice(
        id=f"cuda:{number}",
        kind="cuda",
        name=str(device.get("name") or "an NVIDIA GPU"),
        uuid=None if uuid is None else str(uuid),
        memory_mb=device.get("memory_mb"),
        id_in_worker="cuda:0" if is_slice else f"cuda:{number}",
        variables=variables,
    )


def _cpu(machine: Mapping[str, Any]) -> ComputeDevice:
    return ComputeDevice(id="cpu", kind="cpu", name=str(machine.get("cpu") or "CPU"), id_in_worker="cpu")


def _unknown(name: str, machine: Mapping[str, Any]) -> UsageError:
    there = visible_devices(machine, os.environ.get(VISIBLE))
    if there:
        has = f"it has {', '.join(f'{device.id} ({device.name})' for device in there)}, and cpu"
        hint = f"pass --device {there[0].id}, --device all or --device cpu"
    else:
        hidden = f": {VISIBLE}={os.environ[VISIBLE]!r} hides its GPUs" if machine["gpus"]["devices"] else ""
        has = f"it has cpu, and no GPU that a run could use{hidden}"
        hint = "pass --device cpu, or leave --device out; nvidia-smi shows the GPUs that the driver knows"
    return UsageError(f"there is no device {name!r} on this machine; {has}", hint=hint)


def _list(there: Sequence[Mapping[str, Any]]) -> str:
    return ", ".join(f"{device.get('index', place)} ({device.get('name')})" for place, device in enumerate(there))
