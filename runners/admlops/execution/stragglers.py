"""Slow scenes: which one an idle slot may take over, or do a second time.

At the end of a run one slow or frozen machine would keep all others waiting for its last scene. So a slot of another
machine that has nothing to do does that scene too, and the attempt that is whole first counts. Records do not depend on
who makes them. It is never done within one machine: its energy is measured, and there a second attempt would take power
and memory from the first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from statistics import median

from admlops.execution.slot_states import SlotState

REMEMBERED = 301
"""The usual pace is taken from this many of the last scenes."""
FEWEST = 5
"""This many scenes must be done before anything is called slow."""
GAIN = 1.25
"""A scene is done a second time if its rest takes this many times as long as all of it usually does."""


class Paces:
    """How many seconds a sample usually takes, told from the last scenes."""

    def __init__(self) -> None:
        self._paces: deque[float] = deque(maxlen=REMEMBERED)
        self._usual: float | None = None

    def note(self, seconds: float) -> None:
        """Note how long a sample of a finished scene took."""
        self._paces.append(seconds)
        self._usual = None

    @property
    def usual_s(self) -> float | None:
        """The median time of a sample [s]; None while too little is known."""
        if self._usual is None and len(self._paces) >= FEWEST:
            self._usual = median(self._paces)
        return self._usual


def pair_up(
    slots: Iterable[SlotState], resting: Iterable[SlotState], *, now: float, usual_s: float
) -> list[tuple[SlotState, SlotState]]:
    """Return the slots whose scene another machine would finish sooner, each with its helper, the largest gain first.

    A scene that two slots are at is among them if both are slow; it comes with the slot that had it first.
    """
    gains = [(gain_s, slot) for slot in slots if (gain_s := _gain_s(slot, now, usual_s)) > 0]
    if not gains:
        return []
    pairs: list[tuple[SlotState, SlotState]] = []
    slow = {id(slot.attempt): gain_s for gain_s, slot in gains}
    helpers = sorted(resting, key=lambda one: one.scene_pace_s)  # the fastest first
    for _, slot in sorted(gains, key=lambda one: -one[0]):
        attempt = slot.attempt
        assert attempt is not None, "slow with nothing"
        if attempt.is_second or (attempt.has_rival and id(attempt.rival) not in slow):
            continue
        helper = next((one for one in helpers if _may_help(one, slot)), None)
        if helper is not None:
            helpers.remove(helper)
            pairs.append((slot, helper))
    return pairs


def _gain_s(slot: SlotState, now: float, usual_s: float) -> float:
    """Return how much sooner the slot's scene would be whole if it were begun anew [s]; 0 where that does not pay."""
    attempt = slot.attempt
    if attempt is None or slot.is_stopping or not (attempt.is_second or attempt.may_be_doubled):
        return 0.0
    whole_s = usual_s * len(attempt.samples)
    if not slot.is_running:  # its worker is still loading the model
        return whole_s
    done, since_s = attempt.done, now - slot.answered
    # The first call of a fresh worker may take minutes: it tells only that it takes long.
    left_s = since_s
    if done:
        pace_s = (slot.answered - slot.began) / done
        if attempt.batch is None:  # the answers of a batch come together
            pace_s = max(pace_s, slot.last_pace_s, since_s)
        left_s = pace_s * (len(attempt.samples) - done)
    return left_s - whole_s if left_s > GAIN * whole_s else 0.0


def _may_help(helper: SlotState, slow: SlotState) -> bool:
    attempt = slow.attempt
    assert attempt is not None, "slow with nothing"
    return (
        helper.device.node != slow.device.node
        and helper.shrink == attempt.shrink
        and helper.device not in attempt.avoided
    )
