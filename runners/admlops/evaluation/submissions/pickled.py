"""Results in a pickle, read without running it: arrays, tensors, plain data and mmdet3d's boxes, and nothing else.

A pickle names what it calls. Here a name stands for a function or class of this module, which makes an array of bytes
or keeps a state; every other name is refused before anything is called. Tensors become arrays.
"""

from __future__ import annotations

import io
import pickle
import re
import struct
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from admlops.core.errors import UsageError

Array = NDArray[Any]

TORCH_MAGIC = 0x1950A86A20F9469CFC6C
_DTYPES = {
    "Bool": "?", "Byte": "u1", "Char": "i1", "Short": "<i2", "Int": "<i4", "Long": "<i8",
    "Half": "<f2", "Float": "<f4", "Double": "<f8", "BFloat16": "<u2",
}  # fmt: skip
"""Of torch's storages, by the start of their names; bfloat16 is widened when a tensor is made."""

_PLAIN_DTYPE = re.compile(r"[<>|=]?(b1|[iuf][1248]|[SU]\d{1,4}|O8?)")
_BOXES = re.compile(r"mmdet3d\.[a-z0-9_.]*box[a-z0-9_.]* \w*Instance3DBoxes")


class RefusedError(Exception):
    """The pickle names something that results do not need."""


@dataclass(frozen=True)
class Kind:
    """A class that a pickle names and never calls: of a storage, an array, a dtype."""

    name: str


@dataclass(frozen=True, kw_only=True)
class Storage:
    """The items of a tensor, in one row."""

    items: Array
    is_bfloat16: bool = False


class Boxes3D:
    """mmdet3d's boxes: `tensor` (N, 7 or 9) x, y, z of the floor's middle, three sizes, yaw, velocity."""

    tensor: Array


def read_pickle(stream: IO[bytes], name: object) -> Any:
    """Return what the pickle in `stream` holds. `name` is the file's, for errors.

    Raises:
        UsageError: it is no pickle, is cut, or names what is not on the list, such as `os.system`.
    """
    try:
        return _Reader(stream).load()
    except RefusedError as error:
        raise UsageError(
            f"{name} is refused: {error}",
            hint="save plain data, arrays and tensors alone; or write the results as JSON, see docs/submissions.md",
        ) from error
    except MemoryError as error:
        raise UsageError(f"{name} does not fit into memory", hint="free -g   # or split the file by scenes") from error
    except (
        pickle.UnpicklingError, EOFError, AttributeError, ImportError, IndexError, KeyError, OverflowError,
        RecursionError, TypeError, UnicodeDecodeError, ValueError, struct.error,
    ) as error:  # fmt: skip
        raise UsageError(
            f"{name} is no whole pickle: {error or type(error).__name__}", hint=f"ls -l {name}   # make it again"
        ) from error


class _Reader(pickle.Unpickler):
    """An unpickler that knows a few names, and no module."""

    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get(f"{module} {name}")
        if known is not None:
            return known
        if _BOXES.fullmatch(f"{module} {name}"):
            return type("Boxes3D", (Boxes3D,), {})  # a class of its own, because a pickle may give it attributes
        raise RefusedError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        raise RefusedError("it refers to something outside of it")


class _StorageReader(_Reader):
    """Reads torch's legacy form of one storage, which lies within a pickle as bytes."""

    def persistent_load(self, pid: Any) -> Any:
        if not (isinstance(pid, tuple) and len(pid) >= 5 and pid[0] == "storage" and isinstance(pid[1], Kind)):
            raise RefusedError("it refers to something outside of it that is no storage")
        return pid[1:5]


def _load_from_bytes(content: bytes) -> Storage:
    """Return the storage that `torch.save` wrote in its older form."""
    stream = io.BytesIO(content)
    if _StorageReader(stream).load() != TORCH_MAGIC:
        raise RefusedError("it holds bytes that are no storage of torch")
    for _ in range(2):  # the protocol, and what the machine was
        _StorageReader(stream).load()
    kind, key, _, count = _StorageReader(stream).load()
    if _StorageReader(stream).load() != [key]:
        raise RefusedError("it holds bytes that are no single storage of torch")
    dtype = _storage_dtype(kind)
    (there,) = struct.unpack("<q", stream.read(8))
    if there != count:
        raise RefusedError("it holds a storage of torch that is cut")
    items = np.frombuffer(stream.read(count * dtype.itemsize), dtype=dtype)
    if len(items) != count:
        raise RefusedError("it holds a storage of torch that is cut")
    return Storage(items=items, is_bfloat16="BFloat16" in kind.name)


def _storage_dtype(kind: Kind) -> np.dtype[Any]:
    found = re.fullmatch(r"torch(?:\.cuda)? (\w+)Storage", kind.name)
    if found is None or found[1] not in _DTYPES:
        raise RefusedError(f"it holds a tensor of {kind.name.replace(' ', '.')}")
    return np.dtype(_DTYPES[found[1]])


def _rebuild_tensor(storage: Storage, offset: int, size: Sequence[int], stride: Sequence[int], *_: object) -> Array:
    """Return a tensor as an array of its own."""
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if min(offset, *size, *stride, 0) < 0 or (all(size) and last >= len(storage.items)):
        raise RefusedError("it holds a tensor that is larger than its storage")
    width = storage.items.itemsize
    view = np.lib.stride_tricks.as_strided(
        storage.items[offset:], shape=tuple(size), strides=[step * width for step in stride], writeable=False
    )
    array = np.ascontiguousarray(view) if size else np.array(storage.items[offset])
    return (array.astype(np.uint32) << 16).view(np.float32) if storage.is_bfloat16 else array


def _rebuild_parameter(tensor: Array, *_: object) -> Array:
    return tensor


def _reconstruct(kind: object, shape: object, code: object) -> Array:
    """Return an empty array, which the pickle then gives its state."""
    return np.zeros(0, dtype=np.int8)


def _dtype(text: str, *_: object) -> np.dtype[Any]:
    if not (isinstance(text, str) and _PLAIN_DTYPE.fullmatch(text)):
        raise RefusedError(f"it has an array of {text!r:.40}")
    return np.dtype(text)


def _scalar(dtype: np.dtype[Any], content: object = None) -> Any:
    if not isinstance(dtype, np.dtype) or dtype.hasobject or not isinstance(content, bytes):
        raise RefusedError("it has a number that is none")
    return np.frombuffer(content, dtype=dtype)[0]


def _frombuffer(content: Any, dtype: np.dtype[Any], shape: Any, order: str) -> Array:
    if dtype.hasobject:
        raise RefusedError("it has an array of objects in bytes")
    return np.frombuffer(content, dtype=dtype).reshape(shape, order="F" if order == "F" else "C")


def _encode(text: str, encoding: str = "") -> bytes:
    if encoding != "latin1":
        raise RefusedError(f"it has bytes in {encoding!r}")
    return text.encode("latin1")


def _device(*_: object) -> str:
    return "device"


def _reconstructor(kind: Any, *_: object) -> Any:
    if not (isinstance(kind, type) and issubclass(kind, Boxes3D)):
        raise RefusedError("it makes an object of an unknown class")
    return kind()


class _Function:
    """A function without attributes, so that a pickle cannot give it any."""

    __slots__ = ("_call",)
    _call: Callable[..., Any]

    def __init__(self, call: Callable[..., Any]) -> None:
        object.__setattr__(self, "_call", call)

    def __call__(self, *arguments: Any) -> Any:
        return self._call(*arguments)

    def __setattr__(self, name: str, value: object) -> None:
        raise RefusedError("it changes a function")


def _known() -> Mapping[str, Any]:
    functions: dict[str, Callable[..., Any]] = {
        "numpy dtype": _dtype,
        "_codecs encode": _encode,
        "torch device": _device,
        "torch Size": lambda sizes=(): tuple(sizes),
        "torch.storage _load_from_bytes": _load_from_bytes,
        "torch._utils _rebuild_tensor": _rebuild_tensor,
        "torch._utils _rebuild_tensor_v2": _rebuild_tensor,
        "torch._utils _rebuild_parameter": _rebuild_parameter,
        "copyreg _reconstructor": _reconstructor,
        "copy_reg _reconstructor": _reconstructor,
        "collections OrderedDict": lambda items=(): OrderedDict(items),
    }
    for core in ("numpy.core", "numpy._core"):
        functions[f"{core}.multiarray _reconstruct"] = _reconstruct
        functions[f"{core}.multiarray scalar"] = _scalar
        functions[f"{core}.numeric _frombuffer"] = _frombuffer
    names = ["numpy ndarray", "builtins object", "__builtin__ object"]
    names += [f"{module} {kind}Storage" for module in ("torch", "torch.cuda") for kind in _DTYPES]
    return {**{name: _Function(call) for name, call in functions.items()}, **{name: Kind(name) for name in names}}


_KNOWN = _known()


_PythonPickler: Any = pickle._Pickler


class _Writer(_PythonPickler):  # type: ignore[misc]  # typeshed knows too little of it
    """Names NumPy's functions as NumPy 1 does, which official servers run; NumPy 2 knows these names too.

    Python's own pickler in Python: the fast one cannot be told how to spell a name.
    """

    def save_global(self, obj: Any, name: str | None = None) -> None:
        module = getattr(obj, "__module__", None) or ""
        if not module.startswith("numpy._core"):
            super().save_global(obj, name)
            return
        spelt = f"numpy.core{module.removeprefix('numpy._core')}\n{obj.__qualname__}\n"
        self.write(pickle.GLOBAL + spelt.encode())
        self.memoize(obj)


def write_pickle(content: object, stream: IO[bytes]) -> None:
    """Write plain data and arrays so that any NumPy reads them."""
    _Writer(stream, 4).dump(content)


def as_plain(value: object) -> Any:
    """Return lists, dictionaries and numbers of what may hold arrays at any depth."""
    if isinstance(value, dict):
        return {key: as_plain(own) for key, own in value.items()}
    if isinstance(value, list | tuple):
        return [as_plain(own) for own in value]
    return as_list(value)


def as_list(value: object) -> Any:
    """Return plain lists and numbers of arrays and NumPy's numbers; `value` itself if it is neither."""
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
