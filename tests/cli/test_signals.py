"""Ctrl-C and TERM stop a run by its token, and interrupt as usual while none goes on."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from admlops.cli.signals import cancel_on_signals
from admlops.execution.cancel import CancelToken


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_asked_to_stop_as_often_as_one_presses(number: int) -> None:
    before = signal.getsignal(number)
    with cancel_on_signals() as token, token.watched():
        for _ in range(3):
            os.kill(os.getpid(), number)
        assert token.is_cancelled
    assert signal.getsignal(number) is before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_without_a_run_the_command_is_interrupted(number: int) -> None:
    before = signal.getsignal(number)

    def work() -> None:
        with cancel_on_signals():
            os.kill(os.getpid(), number)
            signal.pause()

    with pytest.raises(KeyboardInterrupt):
        work()
    assert signal.getsignal(number) is before


def test_another_thread_gets_a_plain_token() -> None:
    given: list[CancelToken] = []

    def work() -> None:
        with cancel_on_signals() as token:
            given.append(token)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert not given[0].is_cancelled
    assert given[0].cancel() is False, "no run looks at it"
    assert given[0].is_cancelled
