"""Naming a device among those of several machines."""

from __future__ import annotations

from typing import NamedTuple


class DeviceKey(NamedTuple):
    """A device among those of all nodes of a run."""

    node: str
    id: str

    def __str__(self) -> str:
        return f"{self.id} of {self.node}" if self.node else self.id
