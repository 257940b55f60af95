"""The slots of a run as its coordinator sees them: what each is at, which ones have nothing to do."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from admlops.execution.executor import Slot
from admlops.execution.messages import NOT_LOADED
from admlops.execution.scene_attempt import SceneAttempt


class DeviceKey(NamedTuple):
    """A device among those of all nodes of a run."""

    node: str
    id: str

    def __str__(self) -> str:
        return f"{self.id} of {self.node}" if self.node else self.id


class SlotState:
    """One slot: its worker, and the scene that it is at."""

    def __init__(self, slot: Slot) -> None:
        self.slot = slot
        self.number = slot.number
        self.device = DeviceKey(slot.node, slot.device.id)
        self.attempt: SceneAttempt | None = None
        self.shrink: int | None = None
        """The `shrink` that the slot's worker was loaded with; None: there is no worker."""
        self.is_stopping = False
        self.is_running = False
        """Whether the worker has been handed the scene."""
        self.ready = NOT_LOADED

    @property
    def is_busy(self) -> bool:
        """Whether an event of the slot is to come."""
        return self.attempt is not None or self.is_stopping


class SlotTable:
    """The slots that are there. Those that have joined stand after the others."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._states = {slot.number: SlotState(slot) for slot in slots}
        self._idle: dict[int, SlotState] = {}
        self._busy: SlotState | None = None

    def __iter__(self) -> Iterator[SlotState]:
        return iter(list(self._states.values()))

    def __len__(self) -> int:
        return len(self._states)

    def get(self, number: int) -> SlotState | None:
        """Return a slot, None if it is gone."""
        return self._states.get(number)

    def add(self, slot: Slot) -> SlotState:
        """Add a slot that has joined."""
        assert slot.number not in self._states, f"slot {slot.number} is there already"
        state = self._states[slot.number] = SlotState(slot)
        return state

    def remove(self, number: int) -> SlotState | None:
        """Take a slot out and return it, None if it is gone already."""
        self._idle.pop(number, None)
        return self._states.pop(number, None)

    def rest(self, slot: SlotState) -> None:
        """Note that there is nothing for the slot to do now."""
        self._idle[slot.number] = slot

    def wake(self) -> list[SlotState]:
        """Return the slots that had nothing to do, for each to look again."""
        idle, self._idle = self._idle, {}
        return list(idle.values())

    def any_busy(self) -> bool:
        """Say whether an event of any slot is to come."""
        if self._busy is None or not self._busy.is_busy or self._busy.number not in self._states:
            self._busy = next((state for state in self._states.values() if state.is_busy), None)
        return self._busy is not None
