"""The host's end of a worker's two pipes: frames in both directions, and never a call that blocks."""

from __future__ import annotations

import fcntl
import os
import select
from collections import deque
from contextlib import suppress

from admlops.worker.wire import Frame, FrameParser, ProtocolError

PIPE_BYTES = 1 << 20


class FramePipe:
    """Reads from one descriptor and writes to another without blocking. Owns both."""

    def __init__(self, *, read_fd: int, write_fd: int) -> None:
        self._read_fd = read_fd
        self._write_fd = write_fd
        self._parser = FrameParser()
        self._frames: deque[Frame] = deque()
        self._outgoing = bytearray()
        self._broken: ProtocolError | None = None
        self.ended = False
        for descriptor in (read_fd, write_fd):
            os.set_blocking(descriptor, False)
            with suppress(OSError):  # over the user's limit: the usual 64 KiB suffice, with more turns
                fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, PIPE_BYTES)

    def send(self, data: bytes) -> None:
        """Queue bytes; `exchange` writes them."""
        self._outgoing += data

    def exchange(self, timeout_s: float) -> bool:
        """Write and read what is possible, after waiting up to `timeout_s`. True if anything arrived."""
        poll = select.poll()
        if not self.ended:
            poll.register(self._read_fd, select.POLLIN)
        if self._outgoing:
            poll.register(self._write_fd, select.POLLOUT)
        ready = {descriptor for descriptor, _ in poll.poll(timeout_s * 1000)}
        if self._write_fd in ready:
            self._write()
        return self._read_fd in ready and self._read()

    def next_frame(self) -> Frame | None:
        """Return the next whole frame, or None. Raises ProtocolError once only bytes that are no frame are left."""
        if self._frames:
            return self._frames.popleft()
        if self._broken is not None:
            raise self._broken
        return None

    def discard(self) -> None:
        """Forget what has arrived."""
        self._frames.clear()

    def finish(self) -> None:
        """Raise ProtocolError if the stream ended inside a frame."""
        self._parser.finish()

    def close(self) -> None:
        """Close both descriptors; a worker that still runs takes it as the host's death."""
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _write(self) -> None:
        try:
            del self._outgoing[: os.write(self._write_fd, self._outgoing)]
        except BlockingIOError:
            return
        except BrokenPipeError:  # the worker is ending; what it last said is still to be read
            self._outgoing.clear()

    def _read(self) -> bool:
        try:
            data = os.read(self._read_fd, PIPE_BYTES)
        except BlockingIOError:
            return False
        if not data:
            self.ended = True
        elif self._broken is None:
            self._parser.feed(data)
            try:
                self._frames.extend(self._parser.frames())
            except ProtocolError as error:
                self._broken = error
        return bool(data)
