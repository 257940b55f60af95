"""Cancelling a run, from any thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class CancelToken:
    """Asks a run to stop; once set it stays set. Whoever starts a run keeps the token and may set it at any time."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self._watchers = 0

    def cancel(self) -> bool:
        """Ask the run to stop: workers are ended, whole scenes stay, and the run can be resumed.

        Returns False while no run looks at the token, such as while an environment is built.
        """
        self._event.set()
        return self._watchers > 0

    @property
    def is_cancelled(self) -> bool:
        """True once the run was asked to stop."""
        return self._event.is_set()

    def wait(self, seconds: float) -> None:
        """Wait `seconds`, or until the run is asked to stop."""
        self._event.wait(seconds)

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Mark the token as watched by a run while the block lasts."""
        self._watchers += 1
        try:
            yield
        finally:
            self._watchers -= 1
