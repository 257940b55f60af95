"""How long a worker may take, each limit with its own name."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from admlops.core.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Deadlines:
    """Four limits in seconds; there is no half a set.

    start_s    from the spawn until the model is loaded and the worker says `ready`
    call_s     between two results of a scene, or from handing the scene over to the first
    silence_s  without a frame and without log output, once the model is loaded: the process is frozen
    total_s    one worker's life, from the spawn

    Raises:
        UsageError: a limit is not a positive number, or the start alone may take longer than the whole.
    """

    start_s: float
    call_s: float
    silence_s: float
    total_s: float

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
        """The same with another limit for one sample, as INFERENCE_TIMEOUT asks for."""
        return replace(self, call_s=call_s)


DEFAULT_DEADLINES = Deadlines(start_s=900.0, call_s=300.0, silence_s=120.0, total_s=7 * 86400.0)
"""Long enough for a cold checkpoint on a network volume and a first call that tunes its kernels."""
