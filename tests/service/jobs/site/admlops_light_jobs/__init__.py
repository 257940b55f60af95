"""An endpoint that tests do jobs of: it behaves as its input asks."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Mapping
from typing import Any

import msgspec

from admlops.core.errors import StorageError, UsageError
from admlops.core.paths import Layout
from admlops.service.jobs.endpoints import ENDPOINTS, Endpoint
from admlops.service.jobs.settings import JobSettings
from admlops.service.jobs.work import Work


class LightInput(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What to do: `steps` chunks, after each a pause; then what `then` says, in attempts up to `until` alone."""

    steps: int = 0
    pause_s: float = 0.0
    then: str = "answer"
    until: int = 1_000


def check(layout: Layout, settings: JobSettings, given: LightInput) -> None:
    if given.then == "refuse":
        raise UsageError("this is refused", hint="ask for something else")


def work(work: Work, given: LightInput) -> Mapping[str, Any]:
    if given.then == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    for step in range(given.steps):
        work.reports.add_chunk({"step": step}, key=str(step))
        work.reports.progress({"step": step})
        time.sleep(given.pause_s)
    if work.job.attempt <= given.until:
        _act(given.then)
    if given.then == "not json":
        return {"answer": object()}
    return {"pid": os.getpid(), "attempt": work.job.attempt, "secret": os.environ.get("SOME_TOKEN")}


def _act(then: str) -> None:
    if then == "exit":
        os._exit(7)
    if then == "disk":
        raise StorageError("the disk is full", hint="free some space")
    if then == "defect":
        raise ZeroDivisionError("by zero \x1b[31m")


ENDPOINTS.register("light", Endpoint(id="light", title="Light", shape=LightInput, check=check, work=work))
