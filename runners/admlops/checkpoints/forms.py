"""Checkpoints that hold more than the tensors of a state, or something else: read without running them, as all are.

Some authors publish nothing else. ultralytics saves the whole network: an object of each layer, whose tensors are among
its attributes. detectron2 saves a pickle of NumPy arrays. A `model.toml` says so by `checkpoint_form`; only for such a
model are these forms taken, and its worker reads them with stand-ins, so that no class they name is imported.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Literal

from admlops.checkpoints.names import is_class_like, is_own
from admlops.checkpoints.pickles import Machine, read_pickle
from admlops.checkpoints.values import (
    Contents,
    DamagedError,
    Global,
    Instance,
    Pairs,
    RefusedError,
    Storage,
    Tensor,
    numbers_of,
)

Form = Literal["tensors", "network", "arrays"]
"""What a model's authors save: the tensors alone, the whole network, or NumPy arrays."""

_PARTS = ("_parameters", "_buffers", "_modules")
"""Where torch.nn.Module keeps its tensors and its modules."""
_LAYERS = "torch.nn.modules."
_MOST_NESTED = 100
_KIND_OF_CODE = {
    "f2": "torch HalfStorage",
    "f4": "torch FloatStorage",
    "f8": "torch DoubleStorage",
    "i1": "torch CharStorage",
    "i2": "torch ShortStorage",
    "i4": "torch IntStorage",
    "i8": "torch LongStorage",
    "u1": "torch ByteStorage",
    "b1": "torch BoolStorage",
}
"""NumPy's codes of item types, and torch's storages of the same items."""


class NetworkMachine(Machine):
    """Takes objects of torch's layers and of anybody's classes as data, with their attributes."""

    def _push_global(self, name: str) -> None:
        if _is_layer(name):
            self.globals.add(name)
            self.stack.append(Global(name))
            return
        super()._push_global(name)

    def _do_newobj(self, argument: object) -> None:
        function = self.stack[-2] if len(self.stack) > 1 else None
        if isinstance(function, Global) and _is_layer(function.name):
            self.pop()
            self.pop()
            self.stack.append(Instance(of=function.name))
            return
        super()._do_newobj(argument)

    def _do_build(self, argument: object) -> None:
        state = self.stack[-1] if self.stack else None
        target = self.stack[-2] if len(self.stack) > 1 else None
        if isinstance(target, Instance) and isinstance(state, Pairs) and (_is_layer(target.of) or is_own(target.of)):
            self.pop()
            target.pairs.extend(state.pairs)
            return
        super()._do_build(argument)


def _is_layer(name: str) -> bool:
    """Tell whether `module name` is a class of torch's layers: an object with attributes, never called here."""
    module, _, attribute = name.partition(" ")
    return module.startswith(_LAYERS) and attribute.isidentifier() and is_class_like(name)


@dataclass(eq=False)
class _Dtype(Instance):
    code: str = ""
    swapped: bool = False


@dataclass(eq=False)
class _Array(Instance):
    """An array before it has its state."""


@dataclass
class ArrayMachine(Machine):
    """Takes NumPy's arrays as tensors; their bytes stand in the pickle."""

    contents: dict[str, bytes] = field(default_factory=dict)

    def do(self, name: str, argument: object) -> None:
        """Carry out one opcode; keep bytes and booleans, which other machines do not need."""
        if name in ("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "NEWTRUE", "NEWFALSE"):
            self.stack.append(name == "NEWTRUE" if argument is None else argument)
            return
        super().do(name, argument)

    def _call(self, function: object, arguments: object) -> None:
        name = function.name if isinstance(function, Global) else ""
        if isinstance(arguments, tuple) and arguments:
            if name == "_codecs encode" and arguments[1:] == ("latin1",) and isinstance(arguments[0], str):
                self.stack.append(arguments[0].encode("latin1"))
                return
            if name == "numpy dtype" and isinstance(arguments[0], str):
                self.stack.append(_Dtype(of=name, code=arguments[0]))
                return
            if name.endswith(".multiarray _reconstruct") and arguments[0] == Global("numpy ndarray"):
                self.stack.append(_Array(of=name))
                return
        super()._call(function, arguments)

    def _do_build(self, argument: object) -> None:
        state = self.stack[-1] if self.stack else None
        target = self.stack[-2] if len(self.stack) > 1 else None
        if isinstance(target, _Array) and isinstance(state, tuple):
            self.pop()
            self.pop()
            made = self._make_array(state)
            self._replace(target, made)
            self.stack.append(made)
            return
        if isinstance(target, _Dtype) and isinstance(state, tuple) and len(state) > 1:
            target.swapped = state[1] == ">"
        super()._do_build(argument)

    def _replace(self, array: _Array, tensor: Tensor) -> None:
        """Replace the array without its state, wherever the memo holds it, by the whole tensor."""
        self.memo.update({place: tensor for place, value in self.memo.items() if value is array})

    def _make_array(self, state: tuple[object, ...]) -> Tensor:
        """Return the tensor of an array's state: version, shape, type, whether it is in Fortran order, bytes."""
        shape = numbers_of(state[1]) if len(state) == 5 else None
        kind = _KIND_OF_CODE.get(state[2].code) if len(state) == 5 and isinstance(state[2], _Dtype) else None
        if shape is None or kind is None or not isinstance(state[4], bytes):
            raise RefusedError("makes an array of something else than numbers")
        if isinstance(state[2], _Dtype) and state[2].swapped:
            raise RefusedError("makes an array of numbers in another order of bytes than torch's")
        storage = Storage(key=f"array {self.tensors}", kind=kind, items=math.prod(shape))
        if len(state[4]) != storage.size_bytes:
            raise DamagedError(f"makes an array of {list(shape)} of {len(state[4])} bytes")
        self.tensors += 1
        self.storages[storage.key] = storage
        self.contents[storage.key] = state[4]
        columns = bool(state[3] is True)
        return Tensor(storage=storage, kind=kind, offset=0, shape=shape, stride=_strides(shape, columns=columns))


def _strides(shape: tuple[int, ...], *, columns: bool) -> tuple[int, ...]:
    """Return the strides in items; with `columns` (Fortran order), the first index is the fastest."""
    steps, step = [], 1
    for length in shape if columns else reversed(shape):
        steps.append(step)
        step *= length
    return tuple(steps if columns else reversed(steps))


def read_network(stream: BinaryIO) -> Contents:
    """Read a pickle that may hold whole networks; see `pickles.read_pickle`."""
    return read_pickle(stream, machine=NetworkMachine())


UNPICKLE: dict[Form, Callable[[BinaryIO], Contents]] = {"tensors": read_pickle, "network": read_network}


def read_arrays(stream: BinaryIO) -> tuple[Contents, dict[str, bytes]]:
    """Read a pickle of arrays, and the bytes of each of its storages; see `pickles.read_pickle`."""
    machine = ArrayMachine()
    return read_pickle(stream, machine=machine), machine.contents


def flatten(value: object, depth: int = 0, seen: dict[int, object] | None = None) -> object:
    """The value with every network in it as the dictionary that its `state_dict` would give."""
    seen = {} if seen is None else seen
    if depth > _MOST_NESTED or not isinstance(value, Pairs):
        return value
    if id(value) in seen:
        return seen[id(value)]
    if _is_network(value):
        flat = Pairs()
        seen[id(value)] = flat
        flat.pairs.extend(_tensors_of(value, "", 0))
        return flat
    result = Pairs()
    seen[id(value)] = result
    result.pairs.extend((key, flatten(one, depth + 1, seen)) for key, one in value.pairs)
    return result


def _is_network(value: object) -> bool:
    return isinstance(value, Pairs) and set(_PARTS) <= set(value.texts())


def _tensors_of(network: Pairs, prefix: str, depth: int) -> list[tuple[object, object]]:
    """(key, tensor) of every parameter and buffer, with its modules' names before it."""
    parts = network.texts()
    found: list[tuple[object, object]] = []
    for part in _PARTS[:2]:
        held = parts[part]
        tensors = held.texts() if isinstance(held, Pairs) else {}
        found.extend((prefix + name, one) for name, one in tensors.items() if isinstance(one, Tensor))
    modules = parts["_modules"]
    for name, module in (modules.texts() if isinstance(modules, Pairs) else {}).items():
        if isinstance(module, Pairs) and _is_network(module) and depth < _MOST_NESTED:
            found.extend(_tensors_of(module, f"{prefix}{name}.", depth + 1))
    return found
