"""A piece of memory that the worker shares with its readers: one sample on its way.

It is anonymous and made before the readers are: it has no name, needs no /dev/shm, and the kernel frees it when the
last process that has it ends, however that ends. What is never written takes no memory.
"""

import json
import mmap
import struct
from typing import Any, List

from .plain import from_plain, to_plain

ALIGNMENT = 64
_LENGTH = struct.Struct("<Q")


class SlotFull(Exception):  # noqa: N818  an outcome, not an error
    """A sample is larger than the slot."""


class Slot:
    """`size_bytes` of shared memory for one value at a time."""

    def __init__(self, size_bytes: int) -> None:
        self._memory = memoryview(mmap.mmap(-1, size_bytes))

    def write(self, value: Any) -> None:
        """Put a value in, over the one before.

        Raises:
            PlainError: it has no plain form.
            SlotFull: it is too large.
        """
        spec, blocks = to_plain(value)
        header = json.dumps([spec, [len(block) for block in blocks]]).encode()
        places, end = [], _aligned(_LENGTH.size + len(header))
        for block in blocks:
            places.append(end)
            end = _aligned(end + len(block))
        if end > len(self._memory):
            raise SlotFull
        self._memory[: _LENGTH.size] = _LENGTH.pack(len(header))
        self._memory[_LENGTH.size : _LENGTH.size + len(header)] = header
        for place, block in zip(places, blocks):
            self._memory[place : place + len(block)] = block

    def read(self, *, lends_tensors: bool = False) -> Any:
        """Return the value, or with `lends_tensors` one whose tensors lie in the slot until the next `write`."""
        (length,) = _LENGTH.unpack(self._memory[: _LENGTH.size])
        spec, sizes = json.loads(bytes(self._memory[_LENGTH.size : _LENGTH.size + length]).decode())
        blocks: List[memoryview] = []
        place = _aligned(_LENGTH.size + length)
        for size in sizes:
            blocks.append(self._memory[place : place + size])
            place = _aligned(place + size)
        return from_plain(spec, blocks, lends_tensors=lends_tensors)


def size_of(value: Any) -> int:
    """Return about how many bytes of a slot a value takes. Raises PlainError."""
    spec, blocks = to_plain(value)
    return len(json.dumps(spec)) + sum(_aligned(len(block)) + ALIGNMENT for block in blocks)


def _aligned(offset: int) -> int:
    return -(-offset // ALIGNMENT) * ALIGNMENT
