"""Reads a pickle without running it, and refuses one that would do more than rebuild tensors and plain data.

`pickletools` gives the opcodes; a small machine keeps the stack as the real one would, with stand-ins for values. So it
is known what every call calls, through any detour over the memo, and which tensors are where. `names` lists what may be
named; what is not there is refused, and so is every opcode that torch does not write.

A class of someone's own package may stand in a checkpoint as data: an instance with a state, as pickle writes plain
objects. It is never imported: here and in the worker a stand-in takes its place. A function is never called.
"""

from __future__ import annotations

import pickletools
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from admlops.checkpoints.names import (
    CALLABLE,
    ITEM_BYTES,
    STATEFUL,
    TAKEN_APART,
    VALUES,
    explain_refused,
    is_class_like,
    is_own,
)
from admlops.checkpoints.values import (
    Contents,
    Global,
    Instance,
    Items,
    Opaque,
    Pairs,
    RefusedError,
    Size,
    Storage,
    Tensor,
    are_plain,
    filled,
    in_pairs,
    make_tensor,
    numbers_of,
    spell,
)

LARGEST_VALUE_BYTES = 64 << 20
LARGEST_PICKLE_BYTES = 512 << 20
"""Tensors are not in the pickle: what is there is names, shapes and a few texts."""


_OPAQUE = Opaque()
_MARK = Opaque()

_CONSTANTS = frozenset(
    {"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT", "NONE", "NEWTRUE"}
    | {"NEWFALSE", "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"}
    | {"BYTEARRAY8", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
_TEXTS = frozenset(
    {"UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING"}
)
_INTEGERS = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4"})
_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT"})
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


@dataclass
class Machine:
    """The pickle machine, with stand-ins on its stack; it refuses what a checkpoint has no need of."""

    stack: list[object] = field(default_factory=list)
    memo: dict[int, object] = field(default_factory=dict)
    globals: set[str] = field(default_factory=set)
    storages: dict[str, Storage] = field(default_factory=dict)
    tensors: int = 0

    def pop(self) -> object:
        if not self.stack or self.stack[-1] is _MARK:
            raise RefusedError("takes from an empty stack")
        return self.stack.pop()

    def pop_result(self) -> object:
        """Return what the pickle gives; a class or function alone is no checkpoint."""
        value = self.pop()
        if isinstance(value, Global):
            raise RefusedError(f"names {value.name.replace(' ', '.')} and nothing else")
        return value

    def pop_to_mark(self) -> list[object]:
        values: list[object] = []
        while self.stack:
            value = self.stack.pop()
            if value is _MARK:
                return values[::-1]
            values.append(value)
        raise RefusedError("looks for a mark that is not there")

    def do(self, name: str, argument: object) -> None:
        """Carry out one opcode.

        Raises:
            RefusedError: it is not one that a checkpoint needs.
        """
        if name in _CONSTANTS:
            known = name in _TEXTS or name in _INTEGERS
            self.stack.append(argument if known else _OPAQUE)
        elif name == "EMPTY_TUPLE":
            self.stack.append(())
        elif name in _GETS | _PUTS or name == "MEMOIZE":
            self._remember(name, argument)
        elif name == "MARK":
            self.stack.append(_MARK)
        elif name in _TUPLES:
            values = [self.pop() for _ in range(_TUPLES[name])]
            self.stack.append(tuple(values[::-1]))
        elif name == "TUPLE":
            self.stack.append(tuple(self.pop_to_mark()))
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

    def _do_empty_list(self, argument: object) -> None:
        self.stack.append(Items())

    def _do_empty_set(self, argument: object) -> None:
        self.stack.append(Opaque())

    def _do_empty_dict(self, argument: object) -> None:
        self.stack.append(Pairs())

    def _do_list(self, argument: object) -> None:
        self.stack.append(Items(self.pop_to_mark()))

    def _do_frozenset(self, argument: object) -> None:
        self.pop_to_mark()
        self.stack.append(Opaque())

    def _do_dict(self, argument: object) -> None:
        self.stack.append(Pairs(in_pairs(self.pop_to_mark())))

    def _do_append(self, argument: object) -> None:
        self._extend([self.pop()])

    def _do_appends(self, argument: object) -> None:
        self._extend(self.pop_to_mark())

    def _do_additems(self, argument: object) -> None:
        self._extend(self.pop_to_mark())

    def _do_setitem(self, argument: object) -> None:
        value, key = self.pop(), self.pop()
        self._fill([(key, value)])

    def _do_setitems(self, argument: object) -> None:
        self._fill(in_pairs(self.pop_to_mark()))

    def _extend(self, values: list[object]) -> None:
        """Extend a list or set of the pickle's own, or an instance of a list's class; refuse anything else."""
        target = self.pop()
        if isinstance(target, Instance) and not (is_own(target.of) or target.of == "collections deque"):
            raise RefusedError(f"fills {spell(target)}")
        if not isinstance(target, Opaque):
            raise RefusedError(f"fills {spell(target)}")
        if isinstance(target, Items):
            target.items.extend(values)
        self.stack.append(target)

    def _fill(self, pairs: list[tuple[object, object]]) -> None:
        """Fill a dictionary of the pickle's own, or an instance of a dictionary's class; refuse anything else."""
        target = self.pop()
        if isinstance(target, Instance) and not (is_own(target.of) or target.of in STATEFUL):
            raise RefusedError(f"fills {spell(target)}")
        if not isinstance(target, Opaque):
            raise RefusedError(f"fills {spell(target)}")
        if isinstance(target, Pairs):
            target.pairs.extend(pairs)
        self.stack.append(target)

    def _do_global(self, argument: object) -> None:
        self._push_global(str(argument))

    def _do_stack_global(self, argument: object) -> None:
        name, module = self.pop(), self.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise RefusedError("names a global by values that are no texts")
        self._push_global(f"{module} {name}")

    def _push_global(self, name: str) -> None:
        if name not in CALLABLE and name not in VALUES and not is_own(name):
            raise RefusedError(f"names {name.replace(' ', '.')}{explain_refused(name)}")
        self.globals.add(name)
        self.stack.append(Global(name))

    def _do_reduce(self, argument: object) -> None:
        arguments, function = self.pop(), self.pop()
        self._call(function, arguments)

    def _do_newobj(self, argument: object) -> None:
        """The class's `__new__`: a plain object, filled with its state afterwards."""
        arguments, function = self.pop(), self.pop()
        if isinstance(function, Global) and is_own(function.name) and isinstance(arguments, tuple):
            self.stack.append(Instance(of=function.name))
        else:
            self._call(function, arguments)

    def _do_newobj_ex(self, argument: object) -> None:
        _, arguments, function = self.pop(), self.pop(), self.pop()
        if not (isinstance(function, Global) and is_own(function.name) and isinstance(arguments, tuple)):
            raise RefusedError("is an opcode that torch does not write")
        self.stack.append(Instance(of=function.name))

    def _call(self, function: object, arguments: object) -> None:
        if not isinstance(function, Global):
            raise RefusedError(f"calls {spell(function)}")
        spelt = function.name.replace(" ", ".")
        if not isinstance(arguments, tuple):
            raise RefusedError(f"calls {spelt} with something that is no tuple")
        if is_own(function.name):
            if not (is_class_like(function.name) and are_plain(arguments)):
                raise RefusedError(f"calls {spelt}, which is not known to be harmless")
            self.stack.append(filled(Instance(of=function.name), arguments))
        elif function.name not in CALLABLE:
            raise RefusedError(f"calls {spelt}")
        elif function.name in TAKEN_APART:
            self.stack.append(self._take_apart(function.name, arguments))
        else:
            self.stack.append(filled(Instance(of=function.name), arguments))

    def _take_apart(self, name: str, arguments: tuple[object, ...]) -> object:
        """Return the result of a call that makes a tensor or parameter, or takes a class's attribute."""
        if name == "torch Size":
            numbers = numbers_of(arguments[0]) if arguments else ()
            return Opaque() if numbers is None else Size(numbers)
        if name.endswith((" getattr", " _reconstructor")):
            return self._take_class_apart(name, arguments)
        if name == "torch._tensor _rebuild_from_type_v2" and len(arguments) == 4:
            function, inner = arguments[0], arguments[2]
            if isinstance(function, Global) and function.name in TAKEN_APART and isinstance(inner, tuple):
                return self._take_apart(function.name, inner)
        if (
            name.startswith("torch._utils _rebuild_parameter")
            and arguments
            and isinstance(arguments[0], (Tensor, Opaque))
        ):
            return arguments[0]
        if name.startswith("torch._utils _rebuild_tensor"):
            self.tensors += 1
            return make_tensor(arguments)
        raise RefusedError(f"calls {name.replace(' ', '.')} in a way that torch does not write")

    def _take_class_apart(self, name: str, arguments: tuple[object, ...]) -> object:
        """`getattr` is how pickle names a method, `_reconstructor` how it once made a plain object: of own classes."""
        owner = arguments[0] if arguments else None
        if isinstance(owner, Global) and is_own(owner.name):
            attribute = arguments[1] if len(arguments) == 2 else ""
            if name.endswith(" _reconstructor"):
                return Instance(of=owner.name)
            if isinstance(attribute, str) and attribute.isidentifier() and not attribute.startswith("__"):
                return Opaque()
        raise RefusedError(f"calls {name.replace(' ', '.')} on {spell(owner)}")

    def _do_build(self, argument: object) -> None:
        _, target = self.pop(), self.pop()
        if not (isinstance(target, Instance) and (is_own(target.of) or target.of in STATEFUL)):
            raise RefusedError(f"changes the state of {spell(target)}")
        self.stack.append(target)

    def _do_binpersid(self, argument: object) -> None:
        """A storage: ("storage", class, key, location, items), in old files with one more value."""
        value = self.pop()
        if isinstance(value, tuple) and value[:1] == ("module",):
            raise RefusedError("refers to a module's code: a whole network was saved, not its weights")
        if not (isinstance(value, tuple) and len(value) in (5, 6) and value[0] == "storage"):
            raise RefusedError("refers to something outside that is no storage")
        _, kind, key, location, items = value[:5]
        whole = isinstance(kind, Global) and isinstance(key, str) and isinstance(location, str)
        if not (whole and kind.name in ITEM_BYTES and isinstance(items, int) and items >= 0):
            raise RefusedError("refers to a storage in a way that torch does not write")
        storage = Storage(key=key, kind=kind.name, items=items)
        self.storages[key] = storage
        self.stack.append(storage)


def read_pickle(stream: BinaryIO, *, machine: Machine | None = None) -> Contents:
    """Read one pickle from `stream`, up to and including its STOP, without running it; `machine` is a new one.

    Raises:
        RefusedError: it would do more than rebuild tensors, or is no pickle.
    """
    machine = Machine() if machine is None else machine
    for name, argument, position in _opcodes(_Bounded(stream)):
        try:
            if name == "STOP":
                return Contents(
                    globals=frozenset(machine.globals),
                    storages=tuple(machine.storages.values()),
                    tensors=machine.tensors,
                    value=machine.pop_result(),
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
    """A file that refuses to read a value or a pickle larger than a checkpoint's can be."""

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
