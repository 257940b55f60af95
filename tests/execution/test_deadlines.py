"""Deadlines are whole, positive and in order."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from admlops.core.errors import UsageError
from admlops.execution.deadlines import (
    BUSY_CALLS,
    BUSY_SHARE,
    BUSY_STARTS,
    DEFAULT_DEADLINES,
    FOLLOWED_CALLS,
    MOST_CROWDED,
    DeadlineClock,
    Deadlines,
)
from admlops.health.crowding import read_crowding

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


LIMITS = Deadlines(start_s=10, call_s=10, silence_s=1e6, total_s=1e6)


@dataclass
class Watched:
    """A process on a machine with `crowd` programs a core, from its spawn at 0 on."""

    limits: Deadlines = LIMITS
    crowd: float = 1.0
    now: float = 0.0

    def __post_init__(self) -> None:
        self.processor = Processor()
        self.clock = DeadlineClock(self.limits, 0.0, processor_s=self.processor, crowding=lambda: self.crowd)

    def use(self, share: float, *, at_most_s: float = math.inf) -> str | None:
        """Let time pass, the process using `share` of a core, until a deadline has passed or for so long."""
        until = self.now + at_most_s
        while (overdue := self.clock.overdue(self.now)) is None and self.now < until:
            self.now += 0.5
            self.processor.used_s += 0.5 * share
        return overdue


def test_a_call_that_computes_gets_more_time_and_not_for_ever() -> None:
    watched = Watched()
    watched.clock.note_ready(0.0)
    overdue = watched.use(0.5)
    assert watched.now == 10 * BUSY_CALLS + 0.5
    assert "extended to 120 s while it computed; INFERENCE_TIMEOUT" in (overdue or "")


def test_a_machine_that_others_use_gives_a_call_more_time_and_asks_less_of_it() -> None:
    watched = Watched(crowd=3.0)
    watched.clock.note_ready(0.0)
    overdue = watched.use(BUSY_SHARE / 2)
    assert watched.now == 3 * 10 * BUSY_CALLS + 0.5
    assert "extended to 360 s while it computed, on a machine where 3.0 programs want each core" in (overdue or "")
    full = Watched(crowd=100.0)
    full.clock.note_ready(0.0)
    full.use(1.0)
    assert full.now == MOST_CROWDED * 10 * BUSY_CALLS + 0.5


def test_a_call_that_ceases_to_compute_ends_within_a_limit_more() -> None:
    watched = Watched()
    watched.clock.note_ready(0.0)
    assert watched.use(1.0, at_most_s=42.0) is None
    assert watched.use(0.001) is not None
    assert 42.0 < watched.now <= 42.0 + 10.0


def test_later_samples_may_take_as_long_as_the_first_and_more() -> None:
    watched = Watched(replace(LIMITS, call_s=1.0))
    watched.clock.note_ready(0.0)
    assert watched.use(1.0, at_most_s=11.0) is None
    watched.clock.note_answer(watched.now)
    watched.clock.begin_call(watched.now)
    assert "extended to 44 s" in (watched.use(1.0) or "")
    assert watched.now == 11.0 + FOLLOWED_CALLS * 11.0 + 0.5
    watched.clock.begin_call(watched.now)
    begun = watched.now
    assert watched.use(0.001) is not None
    assert watched.now == begun + 1.5, "one that does not compute gets no more for it"


def test_samples_done_together_have_a_limit_each_and_the_next_ones_their_share() -> None:
    watched = Watched(replace(LIMITS, call_s=1.0))
    watched.clock.note_ready(0.0)
    watched.clock.begin_call(0.0, samples=4)
    assert watched.use(1.0, at_most_s=40.0) is None
    watched.clock.note_answer(watched.now)
    watched.clock.begin_call(watched.now)
    assert "extended to 40 s" in (watched.use(1.0) or "")


def test_a_start_that_computes_gets_more_time_unless_the_limit_is_a_persons_own() -> None:
    watched = Watched()
    assert "within 10 s (the start deadline), extended to 40 s while it computed" in (watched.use(1.0) or "")
    assert watched.now == 10 * BUSY_STARTS + 0.5
    own = Watched(LIMITS.with_start(10.0))
    assert own.use(1.0) is not None
    assert own.now == 10.5


def test_silence_ends_no_process_that_computes() -> None:
    watched = Watched(replace(LIMITS, silence_s=5.0, call_s=20.0))
    watched.clock.note_ready(0.0)
    assert watched.use(1.0, at_most_s=30.0) is None
    assert "(the silence deadline)" in (watched.use(0.001) or "")
    assert watched.now <= 30.0 + 5.5


@pytest.mark.parametrize("own", [True, False])
def test_a_call_that_does_not_compute_or_has_a_limit_of_its_own_ends_in_time(own: bool) -> None:
    watched = Watched(LIMITS.with_call(10) if own else LIMITS)
    watched.clock.note_ready(0.0)
    assert watched.use(1.0 if own else 0.001) is not None
    assert watched.now == 10.5


@pytest.mark.parametrize(
    ("pressure", "load", "crowding"),
    [
        ("some avg10=90.00 avg60=80.00 avg300=1.00 total=1\n", "8.00 1 1 1/1 1", 4.0),
        ("some avg10=90.00 avg60=1.00 avg300=1.00 total=1\nfull avg10=0 avg60=99.00\n", "8.00 1 1 1/1 1", 1.0),
        (None, "8.00 1 1 1/1 1", 4.0),
        (None, "0.10 1 1 1/1 1", 1.0),
        (None, None, 1.0),
        ("nothing that is known", "nothing", 1.0),
    ],
)
def test_a_machine_is_crowded_where_programs_wait_for_its_cores(
    pressure: str | None, load: str | None, crowding: float, tmp_path: Path
) -> None:
    files = tmp_path / "pressure", tmp_path / "loadavg"
    for file, text in zip(files, (pressure, load), strict=True):
        if text is not None:
            file.write_text(text)
    found = read_crowding(pressure=(tmp_path / "none", files[0]), load=files[1], cores=2)
    assert found == crowding
    assert read_crowding() >= 1.0, "this machine"
