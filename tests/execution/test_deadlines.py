"""Deadlines are whole, positive and in order."""

from __future__ import annotations

import math
from typing import Any

import pytest

from admlops.core.errors import UsageError
from admlops.execution.deadlines import BUSY_CALLS, DEFAULT_DEADLINES, DeadlineClock, Deadlines

GOOD: dict[str, Any] = {"start_s": 10.0, "call_s": 5.0, "silence_s": 5.0, "total_s": 100.0}


@pytest.mark.parametrize("missing", list(GOOD))
def test_there_is_no_half_a_set(missing: str) -> None:
    half: dict[str, Any] = {name: value for name, value in GOOD.items() if name != missing}
    with pytest.raises(TypeError, match=missing):
        Deadlines(**half)


@pytest.mark.parametrize("name", list(GOOD))
@pytest.mark.parametrize("value", [0, -1.0, math.nan, "60"])
def test_a_limit_is_a_positive_number(name: str, value: Any) -> None:
    with pytest.raises(UsageError, match=name):
        Deadlines(**{**GOOD, name: value})


def test_the_start_fits_into_the_whole() -> None:
    with pytest.raises(UsageError, match="100 s in total but take 101 s to start"):
        Deadlines(**{**GOOD, "start_s": 101.0})


def test_the_limit_for_a_sample_can_be_changed_alone() -> None:
    changed = DEFAULT_DEADLINES.with_call(7.0)
    assert changed.call_s == 7.0
    assert changed.start_s == DEFAULT_DEADLINES.start_s
    with pytest.raises(UsageError, match="call_s"):
        DEFAULT_DEADLINES.with_call(-1.0)


def test_the_limit_for_loading_can_be_changed_alone() -> None:
    changed = DEFAULT_DEADLINES.with_start(7.0)
    assert (changed.start_s, changed.call_s) == (7.0, DEFAULT_DEADLINES.call_s)
    assert DEFAULT_DEADLINES.with_start(30 * 86400.0).total_s == 30 * 86400.0, "the whole is as long as the start"
    clock = DeadlineClock(changed, 0.0)
    assert clock.overdue(6.9) is None
    assert "within 7 s (the start deadline); --start-timeout sets" in (clock.overdue(7.1) or "")


class Processor:
    """A process's processor time, as a test sets it."""

    used_s = 0.0

    def __call__(self) -> float:
        return self.used_s


def test_a_call_that_computes_gets_more_time_and_not_for_ever() -> None:
    processor = Processor()
    clock = DeadlineClock(Deadlines(start_s=10, call_s=10, silence_s=1e6, total_s=1e6), 0.0, processor_s=processor)
    clock.note_ready(0.0)
    now = 0.0
    while clock.overdue(now) is None:
        now += 1.0
        processor.used_s += 0.5
    assert now == 10 * BUSY_CALLS + 1
    assert "extended to 120 s while it computed" in (clock.overdue(now) or "")
    assert "INFERENCE_TIMEOUT" in (clock.overdue(now) or "")


@pytest.mark.parametrize("own", [True, False])
def test_a_call_that_does_not_compute_or_has_a_limit_of_its_own_ends_in_time(own: bool) -> None:
    processor = Processor()
    limits = Deadlines(start_s=10, call_s=10, silence_s=1e6, total_s=1e6)
    clock = DeadlineClock(limits.with_call(10) if own else limits, 0.0, processor_s=processor)
    clock.note_ready(0.0)
    now = 0.0
    while clock.overdue(now) is None:
        now += 1.0
        processor.used_s += 1.0 if own else 0.001
    assert now == 11
