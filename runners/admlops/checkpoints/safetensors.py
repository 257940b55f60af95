"""The tensors of a safetensors file: a length, a JSON header, and bytes without a gap."""

from __future__ import annotations

import json
import math
from typing import Any, BinaryIO

from admlops.checkpoints.values import DamagedError, Storage, Tensor, shorten

_LARGEST_HEADER_BYTES = 100 << 20
_BITS = {
    **dict.fromkeys(("BOOL", "U8", "I8", "F8_E5M2", "F8_E4M3"), 8),
    **dict.fromkeys(("I16", "U16", "F16", "BF16"), 16),
    **dict.fromkeys(("I32", "U32", "F32"), 32),
    **dict.fromkeys(("I64", "U64", "F64", "C64"), 64),
}
_KINDS = {
    "BOOL": "torch BoolStorage",
    "U8": "torch ByteStorage",
    "I8": "torch CharStorage",
    "F8_E5M2": "torch CharStorage",
    "F8_E4M3": "torch CharStorage",
    "I16": "torch ShortStorage",
    "U16": "torch ShortStorage",
    "F16": "torch HalfStorage",
    "BF16": "torch BFloat16Storage",
    "I32": "torch IntStorage",
    "U32": "torch IntStorage",
    "F32": "torch FloatStorage",
    "I64": "torch LongStorage",
    "U64": "torch LongStorage",
    "F64": "torch DoubleStorage",
    "C64": "torch ComplexFloatStorage",
}
"""safetensors' name of a dtype → the storage class that torch keeps such items in."""
NAME_OF_KIND = {kind: name for name, kind in reversed(_KINDS.items()) if name not in ("F8_E5M2", "F8_E4M3")}
"""The storage class → safetensors' name of the dtype."""


def is_safetensors(begin: bytes) -> bool:
    """Tell whether a file is one, by its first 9 bytes: the length of a header, and the header's begin."""
    return begin[8:9] == b"{" and int.from_bytes(begin[:8], "little") <= _LARGEST_HEADER_BYTES


def read_tensors(file: BinaryIO, size_bytes: int) -> tuple[dict[str, Tensor], dict[str, int]]:
    """The tensors by name, each in a storage of that key, and where in the file each begins.

    Raises:
        DamagedError: the file is cut, or its header contradicts itself.
    """
    length = int.from_bytes(file.read(8), "little")
    if not 2 <= length <= size_bytes - 8:
        raise DamagedError(f"it is cut: a safetensors file whose header has {length} bytes, and it has {size_bytes}")
    try:
        header = json.loads(file.read(length), object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise DamagedError(f"it is no safetensors file: its header is not JSON: {error}") from error
    metadata = header.pop("__metadata__", {})
    if not (isinstance(metadata, dict) and all(isinstance(value, str) for value in metadata.values())):
        raise DamagedError("it is no safetensors file: its metadata are not texts")
    end = 0
    for begin, length_of_tensor, name in sorted(_span(name, entry) for name, entry in header.items()):
        if begin != end:
            raise DamagedError(f"the tensor {shorten(name)} does not begin where the one before it ends")
        end = begin + length_of_tensor
    if end != size_bytes - 8 - length:
        raise DamagedError(f"it is cut or damaged: {size_bytes - 8 - length} bytes of tensors, the header says {end}")
    places = {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items()}
    return {name: _as_tensor(name, entry) for name, entry in header.items()}, places


def _as_tensor(name: str, entry: dict[str, Any]) -> Tensor:
    """The tensor as one that torch saved, in a storage of its own."""
    shape, stride, step = tuple(entry["shape"]), [], 1
    for length in reversed(shape):
        stride.append(step)
        step *= length
    kind = _KINDS[entry["dtype"]]
    storage = Storage(key=name, kind=kind, items=math.prod(shape))
    return Tensor(storage=storage, kind=kind, offset=0, shape=shape, stride=tuple(stride[::-1]))


def _span(name: str, entry: Any) -> tuple[int, int, str]:
    """(begin, length, name) of a tensor, in bytes."""
    try:
        bits, shape, (begin, end) = _BITS[entry["dtype"]], entry["shape"], entry["data_offsets"]
        numbers = [*shape, begin, end]
    except (KeyError, TypeError, ValueError) as error:
        raise DamagedError(f"the tensor {shorten(name)} is not described as safetensors does") from error
    right = all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers)
    if not right or set(entry) != {"dtype", "shape", "data_offsets"} or math.prod(shape) * bits != (end - begin) * 8:
        raise DamagedError(f"the tensor {shorten(name)} has another length than its shape says")
    return begin, end - begin, name


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({name for name, _ in pairs}) < len(pairs):
        raise ValueError("a name is there twice")
    return dict(pairs)
