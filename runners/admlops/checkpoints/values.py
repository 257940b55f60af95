"""What stands for the values of a pickle that is read and not run: see `pickles`."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from admlops.checkpoints.names import ITEM_BYTES, KIND_OF_DTYPE


class RefusedError(Exception):
    """The pickle does something that a checkpoint has no need of; the text names opcode, position and global."""


class DamagedError(RefusedError):
    """The file is cut or contradicts itself."""


@dataclass(frozen=True)
class Global:
    """A class or function, as `module name`."""

    name: str


class Opaque:
    """A value that no call depends on."""


@dataclass(eq=False)
class Pairs(Opaque):
    """A dictionary, as it was filled."""

    pairs: list[tuple[object, object]] = field(default_factory=list)

    def texts(self) -> dict[str, object]:
        """The items whose keys are texts; a later one replaces an earlier one."""
        return {key: value for key, value in self.pairs if isinstance(key, str)}


@dataclass(eq=False)
class Items(Opaque):
    """A list, as it was filled."""

    items: list[object] = field(default_factory=list)


@dataclass(eq=False)
class Instance(Pairs):
    """What calling a global gives; with the items it was filled with, where it is a dictionary."""

    of: str = ""


@dataclass(frozen=True)
class Size:
    """torch.Size, as which some write shapes."""

    numbers: tuple[int, ...]


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
class Tensor:
    """A tensor: `kind` is the storage's class of its items; `offset` and `stride` count items of `storage`."""

    storage: Storage
    kind: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * ITEM_BYTES[self.kind]


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a pickle names: its globals, its storages, how many tensors it rebuilds, and the value it gives."""

    globals: frozenset[str]
    storages: tuple[Storage, ...]
    tensors: int
    value: object


def in_pairs(values: list[object]) -> list[tuple[object, object]]:
    if len(values) % 2:
        raise RefusedError("fills a dictionary with a key that has no value")
    return list(zip(values[::2], values[1::2], strict=True))


def filled(instance: Instance, arguments: tuple[object, ...]) -> Instance:
    """A dictionary's class may be called with its items: a dictionary, or a list of pairs."""
    first = arguments[0] if arguments else None
    if isinstance(first, Pairs):
        instance.pairs.extend(first.pairs)
    elif isinstance(first, Items):
        pairs = (one.items if isinstance(one, Items) else one for one in first.items)
        instance.pairs.extend((one[0], one[1]) for one in pairs if isinstance(one, (list, tuple)) and len(one) == 2)
    return instance


def are_plain(arguments: tuple[object, ...]) -> bool:
    """Tell whether an own class is called like an enumeration or a dictionary: with one value, or its items."""
    if len(arguments) > 1:
        return False
    return all(_is_plain(one) for one in arguments)


def _is_plain(value: object) -> bool:
    if isinstance(value, str):
        return value.replace("_", "a").replace("-", "a").replace(".", "a").isalnum() and len(value) <= 64
    return isinstance(value, (int, Pairs))


def make_tensor(arguments: tuple[object, ...]) -> Tensor:
    """The tensor that `_rebuild_tensor*` makes of (storage, offset, shape, stride, …); of v3 the seventh is its dtype.

    Raises:
        RefusedError: that is not what the arguments are, or the tensor is not inside its storage.
    """
    wrong = RefusedError("rebuilds a tensor in a way that torch does not write")
    if len(arguments) < 4:
        raise wrong
    storage, offset, shape, stride = arguments[:4]
    shape, stride = (numbers_of(one) for one in (shape, stride))
    if not (isinstance(storage, Storage) and isinstance(offset, int) and shape is not None and stride is not None):
        raise wrong
    kind = storage.kind
    if len(arguments) >= 7 and isinstance(arguments[6], Global):
        kind = KIND_OF_DTYPE.get(arguments[6].name, kind)
    if offset < 0 or len(shape) != len(stride):
        raise wrong
    if all(shape):
        last = offset + sum((length - 1) * step for length, step in zip(shape, stride, strict=True))
        if (last + 1) * ITEM_BYTES[kind] > storage.size_bytes:
            raise RefusedError(f"rebuilds a tensor that is larger than its storage {storage.key}")
    return Tensor(storage=storage, kind=kind, offset=offset, shape=shape, stride=stride)


def numbers_of(value: object) -> tuple[int, ...] | None:
    """A tuple of numbers that are not negative, also as torch.Size."""
    if isinstance(value, Size):
        return value.numbers
    if not isinstance(value, tuple) or not all(isinstance(one, int) and one >= 0 for one in value):
        return None
    return tuple(one for one in value if isinstance(one, int))


def spell(value: object) -> str:
    if isinstance(value, Global):
        return f"the global {value.name.replace(' ', '.')}"
    if isinstance(value, Instance):
        return f"an instance of {value.of.replace(' ', '.')}"
    if isinstance(value, (Tensor, Storage)):
        return f"an instance of a {type(value).__name__.lower()}"
    return f"a {type(value).__name__}" if isinstance(value, (str, int, tuple)) else "a value"


def shorten(text: str) -> str:
    """Return a name from a file, quoted and cut to 80 characters."""
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
