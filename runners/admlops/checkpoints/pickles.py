"""Reads a pickle without running it, and refuses one that would do more than rebuild tensors.

`pickletools` gives the opcodes; a small machine keeps the stack as the real one would, with stand-ins for values. So it
is known what every call calls, through any detour over the memo. What is not on the lists below is refused, and so is
every opcode that torch does not write.

What the lists are made from: the functions that `torch.load(weights_only=True)` of torch 2.10 allows for plain tensors
and parameters; NumPy's scalars and arrays, because trainers keep scores in `meta`; and `ConfigDict`, a dictionary with
attributes that mmcv keeps its config in. Not on them, although torch writes it in rare cases:
`torch.storage._load_from_bytes`, which unpickles what it is given.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

LARGEST_VALUE_BYTES = 64 << 20
LARGEST_PICKLE_BYTES = 512 << 20
"""Tensors are not in the pickle: what is there is names, shapes and a few texts."""

_PYTHON = {"builtins", "__builtin__"}
_NUMPY = {"numpy.core.multiarray", "numpy._core.multiarray"}
CALLABLE = frozenset(
    {
        "collections OrderedDict",
        "torch._utils _rebuild_tensor",
        "torch._utils _rebuild_tensor_v2",
        "torch._utils _rebuild_parameter",
        "torch Size",
        "torch device",
        "_codecs encode",  # how protocol 2 spells bytes
        "numpy dtype",
        "mmcv.utils.config ConfigDict",
        "addict.addict Dict",
        *(f"{module} {name}" for module in _PYTHON for name in ("set", "frozenset", "complex")),
        *(f"{module} {name}" for module in _NUMPY for name in ("_reconstruct", "scalar")),
    }
)
"""What a checkpoint may call, as `module name`."""

ITEM_BYTES = {
    "torch BoolStorage": 1,
    "torch ByteStorage": 1,
    "torch CharStorage": 1,
    "torch ShortStorage": 2,
    "torch HalfStorage": 2,
    "torch BFloat16Storage": 2,
    "torch IntStorage": 4,
    "torch FloatStorage": 4,
    "torch LongStorage": 8,
    "torch DoubleStorage": 8,
    "torch ComplexFloatStorage": 8,
    "torch ComplexDoubleStorage": 16,
    "torch.storage UntypedStorage": 1,
}
"""Storage classes and the bytes of one item of each."""

_DTYPES = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")
VALUES = (
    frozenset(ITEM_BYTES)
    | {"numpy ndarray"}
    | {f"torch {name}" for name in (*_DTYPES, "complex64", "complex128", "strided")}
)

"""What a checkpoint may name but not call."""

_STATEFUL = frozenset(
    {"collections OrderedDict", "numpy dtype", "mmcv.utils.config ConfigDict", "addict.addict Dict"}
    | {f"{module} _reconstruct" for module in _NUMPY}
)
"""What may be given a state by BUILD; of everything else it would change attributes that we know nothing of."""


class RefusedError(Exception):
    """The pickle does something that a checkpoint has no need of; the text names opcode, position and global."""


@dataclass(frozen=True)
class Global:
    """A class or function, as `module name`."""

    name: str


@dataclass(frozen=True)
class Instance:
    """What calling a global gives."""

    of: str


@dataclass(frozen=True, kw_only=True)
class Storage:
    """A tensor's bytes, which lie outside the pickle under `key`."""

    key: str
    kind: str
    items: int

    @property
    def size_bytes(self) -> int:
        return self.items * ITEM_BYTES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a pickle names: its globals, its storages, how many tensors it rebuilds, and the value it gives."""

    globals: frozenset[str]
    storages: tuple[Storage, ...]
    tensors: int
    value: object


class _Opaque:
    """A value that no call depends on."""


_OPAQUE = _Opaque()
_MARK = _Opaque()

_CONSTANTS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "NONE", "NEWTRUE"}
    | {"NEWFALSE", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
_TEXTS = frozenset(
    {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_INTEGERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
_EMPTY = {"EMPTY_TUPLE": (), "EMPTY_LIST": _OPAQUE, "EMPTY_DICT": _OPAQUE, "EMPTY_SET": _OPAQUE}
_FROM_MARK = frozenset({"LIST", "DICT", "FROZENSET"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class _Machine:
    """The pickle machine, with stand-ins on its stack."""

    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    tensors: int = 0

    def pop(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("takes from an empty stack")
        return self.stack.pop()

    def pop_to_mark(self) -> list[object]:
        values: list[object] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise RefusedError("looks for a mark that is not there")

    def do(self, name: str, argument: object) -> None:
        """Carry one opcode out.

        Raises:
            RefusedError: it is not one that a checkpoint needs.
        """
        if name in _CONSTANTS:
            known = name in _TEXTS or name in _INTEGERS
            self.stack.append(argument if known else _OPAQUE)
        elif name in _EMPTY:
            self.stack.append(_EMPTY[name])
        elif name in _GETS | _PUTS or name == "MEMOIZE":
            self._remember(name, argument)
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in _TUPLES:
            values = [self.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(values[::-1]))
        elif name == "TUPLE":
            self.stack.append(tuple(self.pop_to_mark()))
        elif name in _FROM_MARK:
            self.pop_to_mark()
            self.stack.append(_OPAQUE)
        elif name not in ("PROTO", "FRAME"):
            action = getattr(self, f"_do_{name.lower()}", None)
            if action is None:
                raise RefusedError("is an opcode that torch does not write")
            action(argument)

    def _remember(self, name: str, argument: object) -> None:
        if name in _GETS:
            if not isinstance(argument, int) or argument not in self.memo:
                raise RefusedError("reads a memo that was not written")
            self.stack.append(self.memo[argument])
            return
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("writes an empty stack to the memo")
        place = len(self.memo) if name == "MEMOIZE" else argument
        assert isinstance(place, int)
        self.memo[place] = self.stack[-1]

    def _do_pop(self, argument: object) -> None:
        if not self.stack:
            raise RefusedError("takes from an empty stack")
        self.stack.pop()

    def _do_pop_mark(self, argument: object) -> None:
        self.pop_to_mark()

    def _do_append(self, argument: object) -> None:
        self.pop()
        self._fill("APPEND")

    def _do_appends(self, argument: object) -> None:
        self.pop_to_mark()
        self._fill("APPENDS")

    def _do_additems(self, argument: object) -> None:
        self.pop_to_mark()
        self._fill("ADDITEMS")

    def _do_setitem(self, argument: object) -> None:
        self.pop(), self.pop()
        self._fill("SETITEM")

    def _do_setitems(self, argument: object) -> None:
        self.pop_to_mark()
        self._fill("SETITEMS")

    def _fill(self, how: str) -> None:
        """What is filled must be a container of the pickle's own, or an instance of a dictionary class."""
        target = self.pop()
        if isinstance(target, Instance) and (target.of not in _STATEFUL or "SETITEM" not in how):
            raise RefusedError(f"fills an instance of {target.of}")
        if not isinstance(target, (Instance, _Opaque)):
            raise RefusedError(f"fills {_spell(target)}")
        self.stack.append(target)

    def _do_global(self, argument: object) -> None:
        self._push_global(str(argument))

    def _do_stack_global(self, argument: object) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise RefusedError("names a global by values that are no texts")
        self._push_global(f"{module} {name}")

    def _push_global(self, name: str) -> None:
        if name not in CALLABLE and name not in VALUES:
            raise RefusedError(f"names {name.replace(' ', '.')}")
        self.globals.add(name)
        self.stack.append(Global(name))

    def _do_reduce(self, argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self._call(function, arguments)

    def _do_newobj(self, argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self._call(function, arguments)

    def _call(self, function: object, arguments: object) -> None:
        if not isinstance(function, Global):
            raise RefusedError(f"calls {_spell(function)}")
        if function.name not in CALLABLE:
            raise RefusedError(f"calls {function.name.replace(' ', '.')}")
        if not isinstance(arguments, tuple):
            raise RefusedError(f"calls {function.name.replace(' ', '.')} with something that is no tuple")
        if function.name.startswith("torch._utils _rebuild_tensor"):
            self.tensors += 1
        self.stack.append(Instance(function.name))

    def _do_build(self, argument: object) -> None:
        self.pop()
        target = self.pop()
        if not (isinstance(target, Instance) and target.of in _STATEFUL):
            raise RefusedError(f"changes the state of {_spell(target)}")
        self.stack.append(target)

    def _do_binpersid(self, argument: object) -> None:
        """A storage: ("storage", class, key, location, items), in old files with one more value."""
        value = self.pop()
        if not (isinstance(value, tuple) and len(value) in (5, 6) and value[0] == "storage"):
            raise RefusedError("refers to something outside that is no storage")
        _, kind, key, location, items = value[:5]
        whole = isinstance(kind, Global) and isinstance(key, str) and isinstance(location, str)
        if not (whole and kind.name in ITEM_BYTES and isinstance(items, int) and items >= 0):
            raise RefusedError("refers to a storage in a way that torch does not write")
        self.storages[key] = Storage(key=key, kind=kind.name, items=items)
        self.stack.append(Instance("storage"))


def read_pickle(stream: BinaryIO) -> Contents:
    """Read one pickle from `stream`, up to and including its STOP, without running it.

    Raises:
        RefusedError: it would do more than rebuild tensors, or is no pickle.
    """
    machine = _Machine()
    for name, argument, position in _opcodes(_Bounded(stream)):
        try:
            if name == "STOP":
                return Contents(
                    globals=frozenset(machine.globals),
                    storages=tuple(machine.storages.values()),
                    tensors=machine.tensors,
                    value=machine.pop(),
                )
            machine.do(name, argument)
        except RefusedError as error:
            raise RefusedError(f"the opcode {name} at byte {position} {error}") from None
    raise RefusedError("the pickle has no end")


def _opcodes(stream: _Bounded) -> Iterator[tuple[str, object, int]]:
    opcodes = pickletools.genops(stream)  # type: ignore[arg-type]
    while True:
        try:
            opcode, argument, position = next(opcodes)
        except StopIteration:
            return
        except (ValueError, UnicodeError, OverflowError, MemoryError) as error:
            raise RefusedError(f"it is not a pickle: {error}") from error
        yield opcode.name, argument, position or 0


class _Bounded:
    """A file that reads no single value and no pickle larger than a checkpoint's can be."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = LARGEST_PICKLE_BYTES

    def read(self, size_bytes: int) -> bytes:
        if not 0 <= size_bytes <= LARGEST_VALUE_BYTES:
            raise RefusedError(f"it is not a checkpoint's pickle: a value of {size_bytes} bytes")
        return self._count(self._stream.read(size_bytes))

    def readline(self) -> bytes:
        return self._count(self._stream.readline(1 << 16))

    def tell(self) -> int:
        return self._stream.tell()

    def _count(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        if self._left < 0:
            raise RefusedError(f"it is not a checkpoint's pickle: more than {LARGEST_PICKLE_BYTES >> 20} MiB")
        return piece


def _spell(value: object) -> str:
    if isinstance(value, Global):
        return f"the global {value.name.replace(' ', '.')}"
    if isinstance(value, Instance):
        return f"an instance of {value.of.replace(' ', '.')}"
    return f"a {type(value).__name__}" if isinstance(value, (str, int, tuple)) else "a value"
