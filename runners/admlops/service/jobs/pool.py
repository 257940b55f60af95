"""Several runners of one machine, each a process of its own that is started anew when it dies.

`python -m admlops.service.jobs.pool FD` is one of them; its settings come through a pipe, as a job's order does.
"""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType

import msgspec

from admlops.core.errors import AdmlopsError
from admlops.core.paths import Layout, find_layout
from admlops.service.jobs.runner import Runner
from admlops.service.jobs.settings import JobSettings, decode_order, encode_order
from admlops.worker import parent as parent_link

log = logging.getLogger(__name__)

WATCH_S = 0.5
AGAIN_S = 5.0
"""How long after its last start a runner that died is started anew."""


class RunnerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """What a runner's process is to do. `parent` is the process that started it."""

    settings: JobSettings
    parent: int


class RunnerPool:
    """Keeps `count` runners alive from `start` to `stop`.

    Args:
        devices: what each runner's jobs may use, as CUDA_VISIBLE_DEVICES names it; the n-th runner has the n-th, in
            turn. Empty: all have all, and jobs that run at the same time share the GPUs.
    """

    def __init__(self, layout: Layout, settings: JobSettings, *, count: int = 1, devices: Sequence[str] = ()) -> None:
        self._layout = layout
        self._settings = settings
        self._devices = devices
        self._processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self._begun = [float("-inf")] * count
        self._patience_s = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="runners", daemon=True)

    def start(self) -> None:
        """Start the runners."""
        self._thread.start()

    def stop(self, *, timeout_s: float | None = None) -> None:
        """End the runners: their jobs are stopped and go back into the queue. Those that do not end are killed.

        Args:
            timeout_s: how long they may take [s]; None gives them the jobs' grace and a little more.
        """
        self._patience_s = self._settings.grace_s + 10.0 if timeout_s is None else timeout_s
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the runners that are there."""
        return tuple(one.pid for one in self._processes if one is not None and one.poll() is None)

    def _keep(self) -> None:
        """Start what is not there, and end all: the kernel kills a runner whose thread ends, so this one does it."""
        while not self._ended.is_set():
            for number, process in enumerate(self._processes):
                if process is not None and process.poll() is None:
                    continue
                if time.monotonic() < self._begun[number] + AGAIN_S:
                    continue
                if process is not None:
                    log.warning("runner %d ended with code %d and is started anew", process.pid, process.returncode)
                self._begun[number] = time.monotonic()
                self._processes[number] = self._start(number)
            self._ended.wait(WATCH_S)
        self._end()

    def _end(self) -> None:
        there = [process for process in self._processes if process is not None]
        for process in there:
            with suppress(ProcessLookupError):
                process.terminate()
        deadline = time.monotonic() + self._patience_s
        for process in there:
            try:
                process.wait(timeout=max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _start(self, number: int) -> subprocess.Popen[bytes]:
        read, write = os.pipe()
        try:
            with os.fdopen(write, "wb") as pipe:
                pipe.write(encode_order(RunnerOrder(settings=self._settings, parent=os.getpid())))
            variables = dict(os.environ)
            if self._devices:
                variables["CUDA_VISIBLE_DEVICES"] = self._devices[number % len(self._devices)]
            return subprocess.Popen(
                [sys.executable, "-m", "admlops.service.jobs.pool", str(read)],
                stdin=subprocess.DEVNULL,
                cwd=self._layout.root,
                env=variables,
                pass_fds=(read,),
            )
        finally:
            os.close(read)


def main(descriptor: int) -> int:
    """Be a runner until TERM or Ctrl-C."""
    parent_link.die_with_parent()
    with os.fdopen(descriptor, "rb") as pipe:
        order = decode_order(pipe.read(), RunnerOrder)
    if os.getppid() != order.parent:
        return 1
    logging.basicConfig(level=logging.INFO, format="%(asctime)s runner %(process)d: %(message)s", stream=sys.stderr)
    try:
        runner = Runner(find_layout(), order.settings)
    except AdmlopsError as error:
        log.warning("%s", error)
        return error.exit_code

    def stop(_number: int, _frame: FrameType | None) -> None:
        runner.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    runner.run()
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
