"""Frames between the host and a worker: magic, kind, length, JSON, over a pair of pipes.

The host imports this very file, so the two sides cannot disagree. Nothing here uses pickle: a frame is data.
"""

import json
import os
import struct
from typing import Any, Callable, Dict, Iterator, NamedTuple, Optional

PROTOCOL_VERSION = 1
MAGIC = b"ADM1"
HEADER = struct.Struct(">4sBI")
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024

HELLO, LOAD, READY, SCENE, RESULT, FAILED, SCENE_DONE, ALIVE, STOP, BATCH = range(1, 11)
KIND_NAMES = {
    HELLO: "hello",
    LOAD: "load",
    READY: "ready",
    SCENE: "scene",
    RESULT: "result",
    FAILED: "failed",
    SCENE_DONE: "scene_done",
    ALIVE: "alive",
    STOP: "stop",
    BATCH: "batch",
}


class ProtocolError(Exception):
    """The other side sent something that is not a frame of this protocol."""


class Frame(NamedTuple):
    """One message. `payload` is the undecoded JSON: the host hands it to a validating decoder."""

    kind: int
    payload: bytes

    def decode(self) -> Dict[str, Any]:
        """The payload as a dictionary. Raises ProtocolError if it is not a JSON object."""
        try:
            value = json.loads(self.payload.decode("utf-8"))
        except ValueError as error:
            raise ProtocolError("{} frame is not JSON: {}".format(KIND_NAMES[self.kind], error)) from error
        if not isinstance(value, dict):
            raise ProtocolError("{} frame is not a JSON object".format(KIND_NAMES[self.kind]))
        return value


def encode_frame(kind: int, message: Dict[str, Any]) -> bytes:
    """The bytes of one frame. Raises ProtocolError if the message is over the size limit or holds NaN or infinity."""
    try:
        payload = json.dumps(message, allow_nan=False, separators=(",", ":")).encode("utf-8")
    except ValueError as error:
        raise ProtocolError("{} frame: {}".format(KIND_NAMES[kind], error)) from error
    return frame_bytes(kind, payload)


def frame_bytes(kind: int, payload: bytes) -> bytes:
    """The bytes of a frame whose JSON is ready. Raises ProtocolError if it is over the size limit."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise ProtocolError(
            "{} frame of {} bytes is over the limit of {}".format(KIND_NAMES[kind], len(payload), MAX_PAYLOAD_BYTES)
        )
    return HEADER.pack(MAGIC, kind, len(payload)) + payload


def parse_header(header: bytes) -> "tuple[int, int]":
    """(kind, payload length) of a 9-byte header. Raises ProtocolError on a wrong magic, kind or length."""
    magic, kind, length = HEADER.unpack(header)
    if magic != MAGIC:
        raise ProtocolError("not a frame: it begins with {!r}".format(bytes(magic)))
    if kind not in KIND_NAMES:
        raise ProtocolError("unknown kind of frame: {}".format(kind))
    if length > MAX_PAYLOAD_BYTES:
        raise ProtocolError("frame of {} bytes is over the limit of {}".format(length, MAX_PAYLOAD_BYTES))
    return kind, length


def read_frame(read: Callable[[int], bytes]) -> Optional[Frame]:
    """The next frame, or None at the end of the stream.

    `read(n)` returns up to n bytes and b"" at the end: a pipe gives at most 64 KiB at a time, so this loops.

    Raises:
        ProtocolError: not a frame, or the stream ends inside one.
    """
    header = _read_exactly(read, HEADER.size)
    if header is None:
        return None
    kind, length = parse_header(header)
    payload = _read_exactly(read, length) if length else b""
    if payload is None:
        raise ProtocolError("the stream ended inside a {} frame".format(KIND_NAMES[kind]))
    return Frame(kind, payload)


class FrameParser:
    """Makes frames of bytes that arrive in pieces of any size.

    It never holds more than one frame and a piece: a header that announces too much is refused before its payload.
    """

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Add what has arrived; then take the frames out with `frames`."""
        self._buffer += data

    def frames(self) -> Iterator[Frame]:
        """The frames that are whole. Raises ProtocolError at the first bytes that are not a frame."""
        while len(self._buffer) >= HEADER.size:
            kind, length = parse_header(bytes(self._buffer[: HEADER.size]))
            end = HEADER.size + length
            if len(self._buffer) < end:
                return
            payload = bytes(self._buffer[HEADER.size : end])
            del self._buffer[:end]
            yield Frame(kind, payload)
        if not MAGIC.startswith(bytes(self._buffer[: len(MAGIC)])):
            raise ProtocolError("not a frame: it begins with {!r}".format(bytes(self._buffer[: len(MAGIC)])))

    def finish(self) -> None:
        """Say that the stream has ended. Raises ProtocolError if that was inside a frame."""
        if self._buffer:
            raise ProtocolError("the stream ended inside a frame, after {} bytes of it".format(len(self._buffer)))


def write_all(descriptor: int, data: bytes) -> None:
    """Write every byte to a file descriptor."""
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _read_exactly(read: Callable[[int], bytes], size: int) -> Optional[bytes]:
    """`size` bytes, or None if the stream ends before the first."""
    parts = []
    missing = size
    while missing:
        part = read(missing)
        if not part:
            if missing == size:
                return None
            raise ProtocolError("the stream ended {} bytes early".format(missing))
        parts.append(part)
        missing -= len(part)
    return b"".join(parts)
