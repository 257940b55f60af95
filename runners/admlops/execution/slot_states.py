"""The slots of a run as its coordinator sees them: what each is at, and which are idle."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from admlops.execution.device_key import DeviceKey
from admlops.execution.executor import Slot
from admlops.execution.messages import NOT_LOADED
from admlops.execution.scene_attempt import SceneAttempt


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
        self.is_leaving = False
        """Whether its device is being taken out: it gets nothing more to do."""
        self.is_running = False
        """Whether the worker has been handed the scene."""
        self.began = self.answered = self.last_pace_s = 0.0
        """When it was, and when it last answered, by the coordinator's clock; how long that answer took [s]."""
        self.scene_pace_s = 0.0
        """How long a sample of its last scene took [s]."""
        self.ready = NOT_LOADED
        self.failed_starts = 0
        """How many workers did not start, one after the other."""

    def note_begin(self, now: float) -> None:
        """Note that the worker is handed its scene."""
        self.is_running = True
        self.began = self.answered = now
        self.last_pace_s = 0.0

    def note_answer(self, now: float) -> None:
        """Note that a sample's answer has come."""
        self.last_pace_s, self.answered = now - self.answered, now

    def note_scene(self, now: float, samples: int) -> float:
        """Note that the scene is done; return how long a sample of it took [s]."""
        self.scene_pace_s = (now - self.began) / max(1, samples)
        return self.scene_pace_s

    @property
    def is_busy(self) -> bool:
        """Whether an event of the slot is expected."""
        return self.attempt is not None or self.is_stopping


class SlotTable:
    """The slots that are there. Those that have joined stand after the others."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._states: dict[int, SlotState] = {}
        self._idle: dict[int, SlotState] = {}
        self._busy: SlotState | None = None
        self.are_spread = False
        """Whether they are of several machines, or may be."""
        for slot in slots:
            self.add(slot)

    def __iter__(self) -> Iterator[SlotState]:
        return iter(list(self._states.values()))

    def __len__(self) -> int:
        return len(self._states)

    def get(self, number: int) -> SlotState | None:
        """Return a slot, None if it is gone."""
        return self._states.get(number)

    def add(self, slot: Slot) -> SlotState:
        """Add a slot."""
        assert slot.number not in self._states, f"slot {slot.number} is there already"
        state = self._states[slot.number] = SlotState(slot)
        self.are_spread = self.are_spread or bool(slot.node)
        return state

    def remove(self, number: int) -> SlotState | None:
        """Take a slot out and return it, None if it is gone already."""
        self._idle.pop(number, None)
        return self._states.pop(number, None)

    def rest(self, slot: SlotState) -> None:
        """Note that there is nothing for the slot to do now."""
        self._idle[slot.number] = slot

    def set_to_work(self, slot: SlotState) -> None:
        """Note that there is something for the slot to do."""
        self._idle.pop(slot.number, None)

    def resting(self) -> list[SlotState]:
        """Return the slots whose worker is loaded and has nothing to do."""
        return [slot for slot in self._idle.values() if slot.shrink is not None]

    def has_device_beside(self, devices: Collection[DeviceKey]) -> bool:
        """Say whether there is a slot on another device than these."""
        return any(slot.device not in devices and not slot.is_leaving for slot in self._states.values())

    def find_rival(self, slot: SlotState) -> SlotState | None:
        """Return the slot with the other attempt at the scene that the slot is at."""
        rival = None if slot.attempt is None else slot.attempt.rival
        return next((one for one in self._states.values() if rival is not None and one.attempt is rival), None)

    def wake(self) -> list[SlotState]:
        """Return the slots that had nothing to do, for each to look again."""
        idle, self._idle = self._idle, {}
        return list(idle.values())

    def any_busy(self) -> bool:
        """Say whether an event of any slot is expected."""
        if self._busy is None or not self._busy.is_busy or self._busy.number not in self._states:
            self._busy = next((state for state in self._states.values() if state.is_busy), None)
        return self._busy is not None
