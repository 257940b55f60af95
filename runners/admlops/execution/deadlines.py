"""The deadlines of a supervised process, each limit with its own name, and the clock that watches them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from admlops.core.errors import UsageError
from admlops.health.crowding import read_crowding


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Four limits in seconds, all of them required.

    start_s    from the spawn until the model is loaded and the worker says `ready`
    call_s     between two results of a scene, or from handing the scene over to the first
    silence_s  without a frame and without log output, once the model is loaded: the process is frozen
    total_s    one process's life, from the spawn

    The first two are extended for a worker on the CPU that still computes when they expire (`BUSY_CALLS`,
    `BUSY_STARTS`, `FOLLOWED_CALLS`), and silence does not end it. `extends_busy_calls` and `extends_busy_start` are
    False where a person set the limit: it is not extended.

    Raises:
        UsageError: a limit is not a positive number, or the start alone may take longer than the whole.
    """

    start_s: float
    call_s: float
    silence_s: float
    total_s: float
    extends_busy_calls: bool = True
    extends_busy_start: bool = True

    def __post_init__(self) -> None:
        for name in ("start_s", "call_s", "silence_s", "total_s"):
            value = getattr(self, name)
            if not isinstance(value, int | float) or math.isnan(value) or value <= 0:
                raise UsageError(
                    f"the deadline {name} is {value!r}, not a positive number of seconds",
                    hint="export INFERENCE_TIMEOUT=120   # seconds for one sample",
                )
        if self.start_s > self.total_s:
            raise UsageError(
                f"a worker may live {self.total_s:g} s in total but take {self.start_s:g} s to start",
                hint="give it a total deadline that is longer than its start",
            )

    def with_call(self, call_s: float) -> Deadlines:
        """Return the deadlines with a person's own limit for one sample, as INFERENCE_TIMEOUT sets it."""
        return replace(self, call_s=call_s, extends_busy_calls=False)

    def with_start(self, start_s: float) -> Deadlines:
        """Return the deadlines with a person's own limit for loading the model."""
        return replace(self, start_s=start_s, total_s=max(self.total_s, start_s), extends_busy_start=False)


BUSY_CALLS = 12
"""A call that keeps computing on the CPU gets this many times `call_s` in all: an hour by default."""
FOLLOWED_CALLS = 4
"""... or this many times what the slowest sample so far took, where that is more: the first one says what is usual."""
BUSY_STARTS = 4
"""A model whose loading keeps computing gets this many times `start_s` in all: an hour by default."""
MOST_CROWDED = 4.0
"""All of these grow with the number of programs that want each core of the machine, up to this factor."""
BUSY_SHARE = 0.05
"""The share of one core that counts as computing, divided among the programs that want it. The worker's own threads
take far less while a call hangs."""
CROWDED = 1.5
"""The crowding from which a message mentions it."""
STEP = 0.5
"""A deadline is extended in steps of this share of the limit; the process must have computed in each."""


class BusyWatch:
    """Tells whether a process computes, by the processor time that it uses between two looks.

    `processor_s` returns the processor time that the process and its children have used [s]; None where that says
    nothing: a program that waits for a hung GPU keeps a core busy too. `crowding` returns how many programs want each
    core of the machine.
    """

    def __init__(self, processor_s: Callable[[], float] | None, crowding: Callable[[], float]) -> None:
        self._processor_s = processor_s
        self._crowding = crowding
        self._looked: tuple[float, float] | None = None

    @property
    def has_looked(self) -> bool:
        """Tell whether there is a look to compare with."""
        return self._looked is not None

    def crowding(self) -> float:
        """Return how many programs want each core, from 1 to `MOST_CROWDED`."""
        return max(1.0, min(MOST_CROWDED, self._crowding()))

    def forget(self) -> None:
        """Begin anew: something else is watched."""
        self._looked = None

    def look(self, now: float) -> None:
        """Remember how much processor time was used until now."""
        if self._processor_s is not None:
            self._looked = now, self._processor_s()

    def is_busy(self, now: float) -> bool:
        """Tell whether the process has computed since the last look, and look again."""
        before = self._looked
        self.look(now)
        if before is None or self._looked is None:
            return False
        used_s, passed_s = self._looked[1] - before[1], now - before[0]
        return used_s > BUSY_SHARE / self.crowding() * passed_s


class DeadlineClock:
    """Watches the deadlines of one process. Times are those of `time.monotonic` [s].

    For `processor_s` and `crowding` see BusyWatch. Silence is watched apart from the call, because each is first
    looked at when it is half over.
    """

    def __init__(
        self,
        deadlines: Deadlines,
        now: float,
        *,
        processor_s: Callable[[], float] | None = None,
        crowding: Callable[[], float] = read_crowding,
    ) -> None:
        self._deadlines = deadlines
        self._calls = BusyWatch(processor_s, crowding)
        self._silence = BusyWatch(processor_s, crowding)
        self._began = self._last_sign = self._call_began = now
        self._limit_s = deadlines.start_s
        self._samples = 1
        self._slowest_s = 0.0
        self._is_ready = False

    def note_sign(self, now: float) -> None:
        """Note a frame or output: the process is not frozen."""
        self._last_sign = now
        self._silence.forget()

    def note_ready(self, now: float) -> None:
        """Note that the model is loaded."""
        self._is_ready = True
        self.begin_call(now)

    def begin_call(self, now: float, *, samples: int = 1) -> None:
        """Give the process `call_s` for its next answer, or for each of several samples that it does together."""
        self._call_began = now
        self._samples = samples
        self._limit_s = self._usual_s
        self._calls.forget()

    def note_answer(self, now: float) -> None:
        """Note that the call has been answered; how long it took counts for the limit of later calls."""
        self._slowest_s = max(self._slowest_s, (now - self._call_began) / self._samples)

    @property
    def _usual_s(self) -> float:
        limits = self._deadlines
        return limits.call_s * self._samples if self._is_ready else limits.start_s

    def overdue(self, now: float) -> str | None:
        """Return which deadline has passed, in words, or None."""
        limits = self._deadlines
        if not self._calls.has_looked and now > self._call_began + self._limit_s * (1 - STEP):
            self._calls.look(now)  # not at each call's beginning: it takes milliseconds
        if now > self._call_began + self._limit_s and not self._extend(now):
            return self._describe_late()
        if self._is_ready and self._is_silent(now):
            return f"neither a frame nor output for {limits.silence_s:g} s (the silence deadline)"
        if now > self._began + limits.total_s:
            return f"the worker has lived for {limits.total_s:g} s (the total deadline)"
        return None

    def _is_silent(self, now: float) -> bool:
        """Tell whether the process is frozen: it gives no sign, and no computing explains the silence."""
        limit_s = self._deadlines.silence_s
        if not self._silence.has_looked and now > self._last_sign + limit_s * (1 - STEP):
            self._silence.look(now)
        if now <= self._last_sign + limit_s:
            return False
        if not self._deadlines.extends_busy_calls or not self._silence.is_busy(now):
            return True
        self._last_sign = now - limit_s * (1 - STEP)
        return False

    def _describe_late(self) -> str:
        limits = self._deadlines
        crowding = self._calls.crowding()
        crowd = f", on a machine where {crowding:.1f} programs want each core" if crowding >= CROWDED else ""
        busy = "" if self._limit_s == self._usual_s else f", extended to {self._limit_s:g} s while it computed{crowd}"
        if not self._is_ready:
            return (
                f"the model was not loaded within {limits.start_s:g} s (the start deadline){busy}; "
                "--start-timeout sets the seconds that it may take"
            )
        together = "" if self._samples == 1 else f", {limits.call_s:g} s for each of {self._samples} samples"
        return (
            f"no result within {self._usual_s:g} s (the call deadline{together}){busy}; "
            "INFERENCE_TIMEOUT sets the seconds that a sample may take"
        )

    def _extend(self, now: float) -> bool:
        """Let a call or a start that computes go on; False if it does not, or has had its share."""
        limits = self._deadlines
        allowed = limits.extends_busy_calls if self._is_ready else limits.extends_busy_start
        if not allowed or not self._calls.is_busy(now) or self._limit_s >= self._longest_s():
            return False
        self._limit_s = min(self._limit_s + STEP * self._usual_s, self._longest_s())
        return True

    def _longest_s(self) -> float:
        """Return the longest that a call or a start may take while it keeps computing [s]."""
        usual_s = (BUSY_CALLS if self._is_ready else BUSY_STARTS) * self._usual_s
        return self._calls.crowding() * max(usual_s, FOLLOWED_CALLS * self._slowest_s * self._samples)


DEFAULT_DEADLINES = Deadlines(start_s=900.0, call_s=300.0, silence_s=120.0, total_s=7 * 86400.0)
"""Long enough for a cold checkpoint on a network volume and a first call that tunes its kernels."""
