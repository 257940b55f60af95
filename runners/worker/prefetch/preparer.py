"""A process that reads samples for its worker: forked from it, so that it has the adapter as it was loaded.

It answers each request by a line; the sample itself lies in the slot that the request names. It ends when the worker
does, or closes its socket.
"""

import json
import os
import signal
import socket
import struct
import sys
import time
from contextlib import suppress
from typing import Any, List, NamedTuple, Optional

from ..adapter import Adapter
from ..failures import classify, describe
from ..memory import oom_kills
from ..parent import die_with_parent
from .plain import PlainError
from .slot import Slot, SlotFull

REQUEST = struct.Struct("<i")
_LENGTH = struct.Struct("<I")


class Answer(NamedTuple):
    """What became of a request: `read_s` is how long reading took [s]; one of the others says why there is nothing.

    `failure` is the sample's, (class, message, traceback); `unable` says why this sample cannot be handed over.
    """

    read_s: float = 0.0
    failure: Optional[List[str]] = None
    unable: Optional[str] = None


class PreparerDied(BaseException):
    """A process that reads samples has ended, unasked. What handles exceptions of an adapter lets it pass."""

    def __init__(self, message: str, kind: str) -> None:
        super().__init__(message)
        self.kind = kind


class Preparer:
    """One such process, as its worker sees it. `waiting` counts the requests that it has not answered."""

    def __init__(self, adapter: Adapter, slots: List[Slot], others: "List[Preparer]") -> None:
        self.waiting = 0
        self._kills = oom_kills()
        self._socket, theirs = socket.socketpair()
        sys.stdout.flush()
        sys.stderr.flush()
        worker = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            _become(adapter, slots, theirs, worker, [self._socket, *(other._socket for other in others)])
        theirs.close()

    def ask(self, slot: int) -> None:
        """Let it read the sample that lies described in a slot. That it has ended is told when its answer is due."""
        self.waiting += 1
        with suppress(OSError):
            self._socket.sendall(REQUEST.pack(slot))

    def answer(self, timeout_s: float, token: str) -> Optional[Answer]:
        """Return its next answer, which is for sample `token`; None if there is none within `timeout_s`.

        Raises:
            PreparerDied: it has ended.
        """
        try:
            return self._next_answer(timeout_s)
        except (OSError, EOFError):
            raise self._explain_end(token) from None

    def _next_answer(self, timeout_s: float) -> Optional[Answer]:
        self._socket.settimeout(timeout_s)
        try:
            begun = self._socket.recv(_LENGTH.size)
        except socket.timeout:
            return None
        self._socket.settimeout(None)
        (length,) = _LENGTH.unpack(begun + self._receive(_LENGTH.size - len(begun)))
        self.waiting -= 1
        return Answer(**json.loads(self._receive(length).decode()))

    def end(self) -> None:
        """End it and wait until it is gone."""
        self._socket.close()
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)  # it holds nothing that must be put in order
        with suppress(ChildProcessError):
            os.waitpid(self.pid, 0)

    def _receive(self, size: int) -> bytes:
        received = b""
        while len(received) < size:
            part = self._socket.recv(size - len(received))
            if not part:
                raise EOFError
            received += part
        return received

    def _explain_end(self, token: str) -> PreparerDied:
        _, status = os.waitpid(self.pid, 0)
        what = "ended with exit code {}".format(os.WEXITSTATUS(status))
        kind = "crash"
        if os.WIFSIGNALED(status):
            what = "was killed by {}".format(signal.Signals(os.WTERMSIG(status)).name)
            if os.WTERMSIG(status) == signal.SIGKILL and oom_kills() > self._kills:
                what, kind = what + ", for want of memory", "host_oom"
        text = "the process {} that reads samples ahead {}, at sample {}"
        return PreparerDied(text.format(self.pid, what, token), kind)


def _become(adapter: Adapter, slots: List[Slot], own: socket.socket, worker: int, others: List[Any]) -> None:
    """Be the process: serve until the worker is gone. Never returns."""
    code = 1
    try:
        die_with_parent()
        for one in others:
            one.close()
        if os.getppid() == worker:
            _use_one_thread()
            _serve(adapter, slots, own)
            code = 0
    except BaseException as error:  # noqa: BLE001  a process's edge: the worker's own ending must not run in it
        sys.stderr.write(describe(error)[1])
        sys.stderr.flush()
    os._exit(code)


def _use_one_thread() -> None:
    """The threads that libraries keep for themselves were left behind at the fork: work given to them would wait."""
    for name in ("cv2", "torch"):
        module = sys.modules.get(name)
        if module is not None:
            (module.setNumThreads if name == "cv2" else module.set_num_threads)(0 if name == "cv2" else 1)


def _serve(adapter: Adapter, slots: List[Slot], own: socket.socket) -> None:
    while True:
        request = own.recv(REQUEST.size, socket.MSG_WAITALL)
        if len(request) < REQUEST.size:
            return
        text = json.dumps(_read(adapter, slots[REQUEST.unpack(request)[0]])._asdict()).encode()
        own.sendall(_LENGTH.pack(len(text)) + text)


def _read(adapter: Adapter, slot: Slot) -> Answer:
    begun = time.perf_counter()
    described = slot.read()
    try:
        inputs = adapter.read(described)
    except Exception as error:  # noqa: BLE001  an adapter may raise anything; it costs this sample
        return Answer(failure=[classify(error, preparing=True), *describe(error)])
    read_s = time.perf_counter() - begun
    try:
        slot.write(inputs)
    except PlainError as error:
        return Answer(unable=str(error))
    except SlotFull:
        return Answer(unable="it is larger than those before")
    return Answer(read_s=read_s)
