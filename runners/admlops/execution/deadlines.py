"""The deadlines of a supervised process, each limit with its own name, and the clock that watches them."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

from admlops.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Four limits in seconds, all of them required.

    start_s    from the spawn until the model is loaded and the worker says `ready`
    call_s     between two results of a scene, or from handing the scene over to the first
    silence_s  without a frame and without log output, once the model is loaded: the process is frozen
    total_s    one process's life, from the spawn

    `extends_busy_calls`: a worker on the CPU that still computes when `call_s` is over gets as long again, up to
    `BUSY_CALLS` times. A person's own limit is not extended.

    Raises:
        UsageError: a limit is not a positive number, or the start alone may take longer than the whole.
    """

    start_s: float
    call_s: float
    silence_s: float
    total_s: float
    extends_busy_calls: bool = True

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
        return replace(self, start_s=start_s, total_s=max(self.total_s, start_s))


BUSY_CALLS = 12
"""A call that keeps computing on the CPU gets this many times `call_s` in all: an hour by default."""
BUSY_SHARE = 0.05
"""The share of one core that counts as computing. The worker's own threads take far less while a call hangs."""


class DeadlineClock:
    """Watches the deadlines of one process. Times are those of `time.monotonic` [s].

    `processor_s` returns the processor time that the process and its children have used; None where that says nothing:
    a program that waits for a hung GPU keeps a core busy too.
    """

    def __init__(self, deadlines: Deadlines, now: float, *, processor_s: Callable[[], float] | None = None) -> None:
        self._deadlines = deadlines
        self._processor_s = processor_s
        self._began = self._last_sign = self._call_began = now
        self._limit_s = deadlines.start_s
        self._looked: tuple[float, float] | None = None
        self._samples = 1
        self._is_ready = False

    def note_sign(self, now: float) -> None:
        """Note a frame or output: the process is not frozen."""
        self._last_sign = now

    def note_ready(self, now: float) -> None:
        """Note that the model is loaded."""
        self._is_ready = True
        self.begin_call(now)

    def begin_call(self, now: float, *, samples: int = 1) -> None:
        """Give the process `call_s` for its next answer, or for each of several samples that it does together."""
        self._call_began = now
        self._samples = samples
        self._limit_s = self._call_s
        self._looked = None

    @property
    def _call_s(self) -> float:
        return self._deadlines.call_s * self._samples

    def overdue(self, now: float) -> str | None:
        """Return which deadline has passed, in words, or None."""
        limits = self._deadlines
        if self._looked is None and now > self._call_began + self._limit_s / 2:
            self._looked = self._look(now)  # not at each call's beginning: it takes milliseconds
        if now > self._call_began + self._limit_s and not self._extend(now):
            return self._describe_late()
        if self._is_ready and now > self._last_sign + limits.silence_s:
            return f"neither a frame nor output for {limits.silence_s:g} s (the silence deadline)"
        if now > self._began + limits.total_s:
            return f"the worker has lived for {limits.total_s:g} s (the total deadline)"
        return None

    def _describe_late(self) -> str:
        limits = self._deadlines
        if not self._is_ready:
            return (
                f"the model was not loaded within {limits.start_s:g} s (the start deadline); "
                "--start-timeout sets the seconds that it may take"
            )
        together = "" if self._samples == 1 else f", {limits.call_s:g} s for each of {self._samples} samples"
        busy = "" if self._limit_s == self._call_s else f", extended to {self._limit_s:g} s while it computed"
        return (
            f"no result within {self._call_s:g} s (the call deadline{together}){busy}; "
            "INFERENCE_TIMEOUT sets the seconds that a sample may take"
        )

    def _look(self, now: float) -> tuple[float, float]:
        return now, 0.0 if self._processor_s is None else self._processor_s()

    def _extend(self, now: float) -> bool:
        """Give a call that computes as long again; False if it does not, or has had its share."""
        limits = self._deadlines
        if self._processor_s is None or self._looked is None or not self._is_ready or not limits.extends_busy_calls:
            return False
        since, used_s = self._looked
        self._looked = self._look(now)
        is_busy = self._looked[1] - used_s > BUSY_SHARE * (now - since)
        if not is_busy or self._limit_s + self._call_s > BUSY_CALLS * self._call_s:
            return False
        self._limit_s += self._call_s
        return True


DEFAULT_DEADLINES = Deadlines(start_s=900.0, call_s=300.0, silence_s=120.0, total_s=7 * 86400.0)
"""Long enough for a cold checkpoint on a network volume and a first call that tunes its kernels."""
