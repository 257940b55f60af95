"""Ctrl-C and TERM, as a request to stop a run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from admlops.execution.cancel import CancelToken


@contextmanager
def cancel_on_signals() -> Iterator[CancelToken]:
    """Give a token that Ctrl-C and TERM set, once or many times: they must not cut off the ending of workers.

    While no run looks at the token they interrupt as usual. Only the main thread may handle signals; in any other the
    token is a plain one.

    Raises:
        KeyboardInterrupt: a signal came while no run looked at the token.
    """
    token = CancelToken()
    if threading.current_thread() is not threading.main_thread():
        yield token
        return

    def cancel(_number: int, _frame: FrameType | None) -> None:
        if not token.cancel():
            raise KeyboardInterrupt

    before = {number: signal.signal(number, cancel) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield token
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
