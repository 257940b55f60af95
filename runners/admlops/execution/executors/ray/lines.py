"""A slot as the driver sees it: its place, its actor, and small helpers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from admlops.execution.cluster.connection import Node
from admlops.execution.executor import Slot, SlotLost
from admlops.execution.executors.ray.places import Place

LOST_HINT = "admlops cluster status   # which nodes answer; the run goes on with those that do"


@dataclass
class Line:
    """A slot and its actor. `number` is the slot's in the run."""

    number: int
    place: Place
    actor: Any
    has_ended: bool = False
    log: Path | None = None

    @property
    def node(self) -> str:
        """The name of its node."""
        return self.place.node.name


def slot_at(number: int, place: Place) -> Slot:
    """Return the slot at a place."""
    return Slot(number=number, device=place.device, node=place.node.name)


def lost(line: Line, reason: str) -> SlotLost:
    """Return the event that a slot is lost; `reason` is what was seen."""
    return SlotLost(slot=line.number, reason=f"node {line.node} ({line.place.node.address}): {reason}", hint=LOST_HINT)


def match_actors(lines: Mapping[int, Line], got: Mapping[int, tuple[Any, str | None]]) -> list[Line]:
    """Give each slot an actor of its node that has its GPU; Ray decides which actor gets which GPU."""
    free = dict(got)
    matched = []
    for line in [lines[number] for number in got]:
        on_node = [number for number in free if lines[number].place.node.id == line.place.node.id]
        own = [number for number in on_node if free[number][1] == line.place.device.uuid]
        chosen = (own or on_node)[0]
        line.actor, _ = free.pop(chosen)
        matched.append(line)
    return matched


def on_node(node: Node) -> Any:
    """Return the strategy by which Ray starts something on this node or not at all."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    return NodeAffinitySchedulingStrategy(node.id, soft=False)


def reason_of(error: BaseException) -> str:
    """Return the first informative line of an error of Ray's."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def encode(facts: Mapping[str, Any]) -> bytes:
    """Return facts as JSON bytes."""
    return msgspec.json.encode(facts)
