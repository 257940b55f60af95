"""The plain form of what an adapter reads: JSON, and blocks of bytes beside it. Nothing in it is ever executed.

Every value comes back as it was: tuples as tuples, floats to the last bit, arrays in the memory layout that they had,
because convolutions round by layout. Classes, functions and members of enumerations go by their names, and come back as
the very objects, for both processes have loaded the same modules.
"""

import importlib
from enum import Enum
from typing import Any, Callable, Dict, List, Sequence, Tuple

PLAIN = (str, int, float, bool, type(None))
SEQUENCES = (list, tuple, set, frozenset)
BYTES = (bytes, bytearray)

Spec = Any
Blocks = List[Any]


class PlainError(TypeError):
    """A value that cannot be handed to another process; the message names its place and type."""


def to_plain(value: Any) -> Tuple[Spec, Blocks]:
    """Return the JSON that describes a value, and the blocks that it refers to: contiguous buffers of bytes.

    Raises:
        PlainError: a part of the value is of a type that has no plain form.
    """
    writer = _Writer()
    return writer.describe(value, "inputs"), writer.blocks


def from_plain(spec: Spec, blocks: Sequence[memoryview], *, lends_tensors: bool = False) -> Any:
    """Return the value of a description. Arrays are copied; with `lends_tensors` tensors lie in the blocks."""
    return _Reader(blocks, lends_tensors).value(spec)


class _Writer:
    def __init__(self) -> None:
        self.blocks: Blocks = []

    def describe(self, value: Any, place: str) -> Spec:
        """Return the description of one value; `place` is where it stands, for messages."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if kind in SEQUENCES:
            return {"kind": kind.__name__, "value": self._items(value, place)}
        if kind in BYTES:
            self.blocks.append(value)
            return {"kind": kind.__name__, "value": len(self.blocks) - 1}
        if isinstance(value, dict):
            pairs = [
                [self.describe(key, place), self.describe(item, "{}[{!r}]".format(place, key))]
                for key, item in dict.items(value)
            ]
            return {"kind": "dict", "value": pairs, **({} if kind is dict else {"class": _name(kind, place)})}
        if isinstance(value, tuple) and hasattr(kind, "_fields"):
            return {"kind": "named", "value": self._items(value, place), "class": _name(kind, place)}
        if isinstance(value, Enum):
            return {"kind": "enum", "value": value.name, "class": _name(kind, place)}
        if isinstance(value, type) or (callable(value) and hasattr(value, "__qualname__")):
            return {"kind": "object", "value": _name(value, place)}
        return self._describe_library(value, place)

    def _items(self, values: Any, place: str) -> List[Spec]:
        return [self.describe(item, "{}[{}]".format(place, index)) for index, item in enumerate(values)]

    def _describe_library(self, value: Any, place: str) -> Spec:
        """Describe numpy's arrays and numbers, PyTorch's tensors on the CPU, and what mm libraries put such into."""
        library, kind = type(value).__module__.partition(".")[0], type(value).__name__
        if library == "numpy" and kind in ("ndarray", "memmap"):
            return self._describe_array(value, place)
        if library == "numpy" and hasattr(value, "itemsize") and not hasattr(value, "mask"):
            return {"kind": "number", "value": self._describe_array(value.reshape(1), place)}
        if library == "torch" and hasattr(value, "detach"):
            return self._describe_tensor(value, place)
        if all(hasattr(value, name) for name in ("tensor", "box_dim", "with_yaw")):
            settings = {"box_dim": value.box_dim, "with_yaw": value.with_yaw}
            tensor = self._describe_tensor(value.tensor, place)
            return {"kind": "boxes", "value": tensor, "class": _name(type(value), place), "settings": settings}
        if all(hasattr(value, name) for name in ("metainfo_items", "set_field", "all_items")):
            parts = [self.describe(dict(part), place) for part in (value.metainfo_items(), value.items())]
            return {"kind": "element", "value": parts, "class": _name(type(value), place)}
        raise PlainError("{} is of type {}, which has no plain form".format(place, type(value).__qualname__))

    def _describe_array(self, array: Any, place: str) -> Spec:
        """Put the axes in the order in which they lie: what travels is contiguous, and comes back as it lay."""
        if array.dtype.hasobject or array.dtype.names is not None:
            raise PlainError("{} is an array of {}, which has no plain form".format(place, array.dtype))
        numpy = importlib.import_module("numpy")
        order = sorted(range(array.ndim), key=lambda axis: (-abs(array.strides[axis]), axis))
        lying = numpy.ascontiguousarray(array.transpose(order))
        self.blocks.append(lying.reshape(-1).view(numpy.uint8) if lying.nbytes else b"")
        shape = list(lying.shape) if array.ndim else []
        return {"kind": "array", "value": len(self.blocks) - 1, "type": array.dtype.str, "shape": shape, "order": order}

    def _describe_tensor(self, tensor: Any, place: str) -> Spec:
        if tensor.device.type != "cpu":
            raise PlainError("{} is on {}: `read` must leave it on the CPU".format(place, tensor.device))
        try:
            array = tensor.detach().numpy()
        except (TypeError, RuntimeError) as error:
            raise PlainError("{} has no plain form: {}".format(place, error)) from error
        return {"kind": "tensor", "value": self._describe_array(array, place)}


class _Reader:
    def __init__(self, blocks: Sequence[memoryview], lends_tensors: bool) -> None:
        self._blocks = blocks
        self._lends_tensors = lends_tensors
        self._makers: Dict[str, Callable[[Dict[str, Any], Any], Any]] = {
            "dict": self._make_dict,
            "named": lambda spec, content: _find(spec["class"])(*map(self.value, content)),
            "enum": lambda spec, content: _find(spec["class"])[content],
            "object": lambda spec, content: _find(content),
            "array": lambda spec, content: self._make_array(spec, copied=True),
            "number": lambda spec, content: self.value(content)[0],
            "tensor": lambda spec, content: self._make_tensor(content),
            "boxes": self._make_boxes,
            "element": self._make_element,
            **{kind.__name__: self._from_items(kind) for kind in SEQUENCES},
            **{kind.__name__: self._from_block(kind) for kind in BYTES},
        }

    def value(self, spec: Spec) -> Any:
        """Return the value of a description."""
        return self._makers[spec["kind"]](spec, spec["value"]) if isinstance(spec, dict) else spec

    def _from_items(self, kind: Any) -> Callable[[Dict[str, Any], Any], Any]:
        return lambda spec, content: kind(map(self.value, content))

    def _from_block(self, kind: Any) -> Callable[[Dict[str, Any], Any], Any]:
        return lambda spec, content: kind(self._blocks[content])

    def _make_array(self, spec: Dict[str, Any], *, copied: bool) -> Any:
        numpy = importlib.import_module("numpy")
        block, kind, order = self._blocks[spec["value"]], numpy.dtype(spec["type"]), spec["order"]
        lying = numpy.frombuffer(block, dtype=kind) if len(block) else numpy.empty(0, dtype=kind)
        lying = (lying.copy() if copied else lying).reshape(spec["shape"])
        return lying.transpose(sorted(range(len(order)), key=order.__getitem__)) if order else lying

    def _make_tensor(self, spec: Dict[str, Any]) -> Any:
        return importlib.import_module("torch").from_numpy(self._make_array(spec, copied=not self._lends_tensors))

    def _make_dict(self, spec: Dict[str, Any], content: Any) -> Any:
        pairs = {self.value(key): self.value(item) for key, item in content}
        return _find(spec["class"])(pairs) if "class" in spec else pairs

    def _make_boxes(self, spec: Dict[str, Any], content: Any) -> Any:
        tensor = self.value(content)
        boxes = _find(spec["class"])(tensor, **spec["settings"])
        boxes.tensor = tensor  # the constructor may turn or shift what it is given
        return boxes

    def _make_element(self, spec: Dict[str, Any], content: Any) -> Any:
        """An element of mmengine's: its meta information and its fields."""
        described, fields = map(self.value, content)
        return _find(spec["class"])(metainfo=described, **fields)


def _name(thing: Any, place: str) -> str:
    """`module:name`, by which the other process finds the very same object."""
    name = "{}:{}".format(thing.__module__, thing.__qualname__)
    try:
        found = _find(name)
    except (ImportError, AttributeError):
        found = None
    if found is not thing:
        raise PlainError("{} refers to {}, which cannot be found by its name".format(place, name))
    return name


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
