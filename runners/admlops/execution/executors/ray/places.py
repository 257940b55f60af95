"""The places for workers on a cluster's nodes: a number of them on each GPU, or on each node's CPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from admlops.core.errors import UsageError
from admlops.execution.cluster.connection import Node
from admlops.health.devices import AUTO, EVERY, ComputeDevice, choose_devices, visible_devices

SHARES = 10_000
"""Ray counts GPUs in ten-thousandths."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a worker can be: a node, a device of it."""

    node: Node
    device: ComputeDevice


def choose_places(nodes: Sequence[tuple[Node, Mapping[str, Any]]], *, devices: str, workers: int) -> list[Place]:
    """Return `workers` places for each device, dealt in turn over devices. `nodes` come with their machines.

    Raises:
        UsageError: `devices` names single devices, there are none of that kind, or the GPUs are of several models.
    """
    asked = devices.strip().lower()
    if asked not in (AUTO, "cpu", *EVERY):
        raise UsageError(
            f"--devices {devices} names devices of one machine, and --executor ray has several",
            hint="pass --devices auto, all or cpu; CUDA_VISIBLE_DEVICES on a node hides its others from Ray",
        )
    chosen = [] if asked == "cpu" else _gpus(nodes, every=asked in EVERY)
    if not chosen:
        if asked in EVERY:
            raise UsageError("no node of the cluster has a GPU", hint="pass --devices cpu   # or auto")
        chosen = [
            Place(node=node, device=choose_devices("cpu", machine)[0]) for node, machine in nodes if node.cpus >= 1
        ]
    if not chosen:
        raise UsageError("no node of the cluster takes work", hint="admlops cluster status   # its CPUs and GPUs")
    return [place for _ in range(workers) for place in chosen]


def gpu_share(workers: int) -> float:
    """Return the share of a GPU that each of `workers` workers gets."""
    return (SHARES // workers) / SHARES


def _gpus(nodes: Sequence[tuple[Node, Mapping[str, Any]]], *, every: bool) -> list[Place]:
    """Return the GPUs of one model: all of them, or those of the most common model."""
    found: list[Place] = []
    for node, machine in nodes:
        there = visible_devices(machine, None)
        if node.gpus > len(there):
            problem = machine["gpus"].get("problem")
            raise UsageError(
                f"node {node.name}: Ray counts {node.gpus} GPUs, and its driver shows {len(there)}"
                + (f" ({problem})" if problem else ""),
                hint="nvidia-smi -L   # on that node; start it with --gpus N of what it has",
            )
        found += [Place(node=node, device=device) for device in there[: node.gpus]]
    counts = Counter(place.device.name for place in found)
    if len(counts) > 1 and every:
        names = ", ".join(f"{count} {name}" for name, count in counts.most_common())
        raise UsageError(
            f"the times and records of a run belong to one model of GPU; the cluster has {names}",
            hint="pass --devices auto   # it takes the model that there are most of",
        )
    usual = counts.most_common(1)[0][0] if counts else None
    return [place for place in found if place.device.name == usual]
