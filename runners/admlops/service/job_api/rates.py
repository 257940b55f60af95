"""How often one token may ask: RunPod's numbers, but twice as many looks at a job."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Callable

WINDOW_S = 10.0
MOST = {"run": 1000, "runsync": 2000, "status": 4000, "stream": 4000, "cancel": 100, "purge-queue": 2, "retry": 100}
"""Operation: requests within `WINDOW_S`."""


class Rates:
    """Counts requests of the last 10 s, of each token and operation."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._times: dict[tuple[str, str], deque[float]] = defaultdict(deque)

    def wait_s(self, who: str, operation: str) -> float:
        """Count a request; returns how long to wait before the next try where it is one too many, else 0."""
        now, times = self._clock(), self._times[who, operation]
        while times and times[0] <= now - WINDOW_S:
            times.popleft()
        if len(times) >= MOST[operation]:
            return times[0] + WINDOW_S - now
        times.append(now)
        return 0.0
