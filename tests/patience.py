"""Limits of tests that know the machine: one that is reached goes on by as much as the machine is crowded.

A limit is there to end what hangs. Where seven programs want two cores, work takes three and a half times as long, and
hangs no more than before. `admlops.health.crowding` says how crowded it is, as it does for the deadlines of workers.
"""

from __future__ import annotations

import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Any, cast

import pytest
import pytest_timeout  # type: ignore[import-untyped]

from admlops.health.crowding import read_crowding

MOST = 12.0
"""However crowded a machine is, no limit becomes longer than so many times itself."""


class Limit:
    """A limit in seconds of a machine that is not crowded."""

    def __init__(self, limit_s: float, *, crowding: Callable[[], float] = read_crowding) -> None:
        self._limit_s = self._allowed_s = limit_s
        self._crowding = crowding
        self._begun_s = time.monotonic()

    def more_s(self) -> float:
        """Return how many seconds to go on, asked when the limit is reached; 0 where it is over."""
        self._allowed_s = max(self._allowed_s, self._limit_s * min(self._crowding(), MOST))
        left_s = self._allowed_s - (time.monotonic() - self._begun_s)
        return max(0.0, min(left_s, self._limit_s))


def run_patiently(
    command: Sequence[object], *, timeout_s: float, crowding: Callable[[], float] = read_crowding, **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program as `subprocess.run` does, and capture its text.

    Raises:
        subprocess.TimeoutExpired: it outlived its limit, and is killed.
    """
    limit, wait_s = Limit(timeout_s, crowding=crowding), timeout_s
    pipe = subprocess.PIPE
    with subprocess.Popen([*map(str, command)], stdout=pipe, stderr=pipe, text=True, **options) as process:
        try:
            while True:
                try:
                    said, complained = process.communicate(timeout=wait_s)
                except subprocess.TimeoutExpired:
                    wait_s = limit.more_s()
                    if not wait_s:
                        raise
                else:
                    return subprocess.CompletedProcess(process.args, process.returncode, said, complained)
        except BaseException:  # a limit of the test itself too: nothing of the program outlives the wait
            process.kill()
            raise


def set_patient_timer(item: pytest.Item, settings: pytest_timeout.Settings) -> bool | None:
    """Set pytest-timeout's alarm, which asks for more time before it ends the test; None where it uses a thread."""
    pytest_timeout.pytest_timeout_set_timer(item, settings)
    if settings.method != "signal":
        return True
    limit, end = Limit(settings.timeout), signal.getsignal(signal.SIGALRM)

    def ask(number: int, frame: Any) -> None:
        more_s = limit.more_s()
        if more_s:
            signal.setitimer(signal.ITIMER_REAL, more_s)
        else:
            cast("Callable[[int, Any], None]", end)(number, frame)

    signal.signal(signal.SIGALRM, ask)
    return True
