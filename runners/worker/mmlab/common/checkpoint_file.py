"""Reads a checkpoint's file: torch's two formats and safetensors, told apart by content, and nothing in it is run."""

import inspect
import json
import pickle
import re
import types
from typing import Any, Dict, Iterator, Optional, Tuple

import numpy as np

from .libraries import load_library

LARGEST_HEADER_BYTES = 100 << 20
_SAFE_GLOBALS = {
    "torch._utils": re.compile(r"_rebuild_(tensor(_v2|_v3)?|parameter)"),
    "torch": re.compile(r"\w+Storage|Size|device|(u?int|float|bfloat|complex)\d+\w*|bool|Tensor"),
    "torch.storage": re.compile(r"(Untyped|Typed|_Untyped|_Typed)?Storage"),
    "torch.nn.parameter": re.compile(r"Parameter"),
    "collections": re.compile(r"OrderedDict"),
    "builtins": re.compile(r"set|frozenset"),
    "__builtin__": re.compile(r"set|frozenset"),
    "numpy": re.compile(r"dtype|ndarray"),
    "numpy.core.multiarray": re.compile(r"scalar|_reconstruct"),
    "numpy._core.multiarray": re.compile(r"scalar|_reconstruct"),
    "_codecs": re.compile(r"encode"),
}
_PARTS = ("_parameters", "_buffers", "_modules")
_KEPT = (*_PARTS, "_non_persistent_buffers_set")
"""Where torch.nn.Module keeps its tensors and its modules."""
MOST_NESTED = 100
_DTYPES = {
    # safetensors' name: NumPy's dtype of as many bytes, torch's dtype
    "F64": ("<f8", "float64"),
    "F32": ("<f4", "float32"),
    "F16": ("<f2", "float16"),
    "BF16": ("<i2", "bfloat16"),
    "I64": ("<i8", "int64"),
    "I32": ("<i4", "int32"),
    "I16": ("<i2", "int16"),
    "I8": ("i1", "int8"),
    "U8": ("u1", "uint8"),
    "BOOL": ("?", "bool"),
}


class CheckpointFileError(ValueError):
    """The file cannot be read as a checkpoint."""


def read_checkpoint(path: str) -> Any:
    """Return what was saved, with stand-ins for every object that is neither a tensor nor plain data.

    A whole network counts as the dictionary that its `state_dict` would give, and NumPy's arrays as tensors where the
    file is a plain pickle of them.

    Raises:
        CheckpointFileError: the file is no checkpoint, or damaged.
    """
    try:
        if is_safetensors(path):
            return read_safetensors(path)
        arrays = read_arrays(path)
        if arrays is not None:
            return arrays
        torch = load_library("torch")
        # torch 2.6's own safe reader refuses the metadata of older mm checkpoints, and torch 1.9 has none.
        modern = {"weights_only": False} if "weights_only" in inspect.signature(torch.load).parameters else {}
        return flatten(torch.load(path, map_location="cpu", pickle_module=_inert_pickle(), **modern))
    except Exception as error:  # unpickling damaged bytes raises anything
        raise CheckpointFileError(str(error) or type(error).__name__) from error


def is_safetensors(path: str) -> bool:
    """Tell whether it is one by its content: the length of a header, and the header's begin."""
    with open(path, "rb") as file:
        begin = file.read(9)
    return begin[8:] == b"{" and int.from_bytes(begin[:8], "little") <= LARGEST_HEADER_BYTES


def read_safetensors(path: str) -> Dict[str, Any]:
    """The tensors of a safetensors file by name. Older environments have no library for it."""
    torch = load_library("torch")
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length).decode("utf-8"))
        header.pop("__metadata__", None)
        tensors = {}
        for name, entry in header.items():
            if entry["dtype"] not in _DTYPES:
                raise CheckpointFileError("{} is of {}, which is not read here".format(name, entry["dtype"]))
            kind, dtype = _DTYPES[entry["dtype"]]
            begin, end = entry["data_offsets"]
            file.seek(8 + length + begin)
            array = np.frombuffer(bytearray(file.read(end - begin)), dtype=np.dtype(kind)).reshape(entry["shape"])
            tensor = torch.from_numpy(array)
            tensors[name] = tensor.view(torch.bfloat16) if dtype == "bfloat16" else tensor
    return tensors


def read_arrays(path: str) -> Optional[Dict[str, Any]]:
    """The content of a plain pickle of NumPy arrays, as tensors; None for a file of torch.save."""
    with open(path, "rb") as file:
        if file.read(1) != b"\x80":
            return None
        file.seek(0)
        content = _Unpickler(file, encoding="latin1").load()
    return _as_tensors(content) if isinstance(content, dict) else None


def _as_tensors(content: Any) -> Any:
    if isinstance(content, np.ndarray):
        return load_library("torch").from_numpy(np.array(content, order="C"))
    return {key: _as_tensors(value) for key, value in content.items()} if isinstance(content, dict) else content


def flatten(content: Any) -> Any:
    """The content with every network in it as the dictionary of its parameters and lasting buffers."""
    seen = set()

    def change(value: Any, depth: int) -> Any:
        if not isinstance(value, dict) or depth > MOST_NESTED or id(value) in seen:
            return value
        if isinstance(value, _Inert):
            return dict(_tensors_of(value, "", 0)) if set(_PARTS) <= set(value) else value
        seen.add(id(value))
        for key, one in value.items():
            value[key] = change(one, depth + 1)
        return value

    return change(content, 0)


def _tensors_of(network: Dict[str, Any], prefix: str, depth: int) -> Iterator[Tuple[str, Any]]:
    passing = network.get("_non_persistent_buffers_set") or ()
    for part in ("_parameters", "_buffers"):
        for name, value in network[part].items():
            if value is not None and not (part == "_buffers" and name in passing):
                yield prefix + name, value
    for name, module in network["_modules"].items():
        if isinstance(module, _Inert) and set(_PARTS) <= set(module) and depth < MOST_NESTED:
            for key, value in _tensors_of(module, prefix + name + ".", depth + 1):
                yield key, value


class _Inert(dict):  # type: ignore[type-arg]
    """Stands in for any object of a checkpoint that is neither a tensor nor plain data; nothing of it is run."""

    def __new__(cls, *_: Any, **__: Any) -> "_Inert":
        return super().__new__(cls)

    def __init__(self, *arguments: Any, **_: Any) -> None:
        super().__init__(*(one for one in arguments[:1] if isinstance(one, dict)))

    # Objects are keys of dictionaries and members of sets.
    __hash__ = object.__hash__  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return self is other

    def __ne__(self, other: object) -> bool:
        return self is not other

    def __setstate__(self, state: Any) -> None:
        """Keep what a network's state_dict is made of; forget every other state."""
        if isinstance(state, dict) and set(_PARTS) <= set(state):
            self.update((name, state[name]) for name in _KEPT if name in state)

    def append(self, _: Any) -> None:
        """Forget the item."""

    def extend(self, _: Any) -> None:
        """Forget the items."""

    def add(self, _: Any) -> None:
        """Forget the item."""


def _rebuild_from_type(function: Any, _: Any, arguments: Any, __: Any) -> Any:
    """In place of torch's: the tensor, without its Python class and attributes."""
    return function(*arguments)


def _rebuild_parameter_with_state(data: Any, *_: Any) -> Any:
    """In place of torch's: the tensor, without attributes."""
    return data


_IN_PLACE = {
    ("torch._tensor", "_rebuild_from_type_v2"): _rebuild_from_type,
    ("torch._utils", "_rebuild_parameter_with_state"): _rebuild_parameter_with_state,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        replacement = _IN_PLACE.get((module, name))
        if replacement is not None:
            return replacement
        pattern = _SAFE_GLOBALS.get(module)
        if pattern is not None and pattern.fullmatch(name):
            return super().find_class(module, name)
        return _Inert


def _inert_pickle() -> types.ModuleType:
    """A module that torch.load takes in place of pickle."""
    module = types.ModuleType("inert_pickle")
    module.Unpickler = _Unpickler  # type: ignore[attr-defined]
    module.load = lambda file, **options: _Unpickler(file, **options).load()  # type: ignore[attr-defined]
    return module
