"""Which tensors of a checkpoint are the network's weights, what they are of, and their digest in whatever form."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from admlops.checkpoints.names import ITEM_BYTES
from admlops.checkpoints.values import Items, Pairs, Storage, Tensor
from admlops.worker.mmlab.state_dict import StateError, find_state, plain_keys

ReadStorage = Callable[[Storage], bytes]
_MOST_NESTED = 8


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The network's weights in a file. `ema` and `left` are as in `worker.mmlab.state_dict.Found`.

    `config_text` and `config_name` are what the trainer kept of its configuration: mm libraries keep the whole text.
    """

    tensors: Mapping[str, Tensor]
    ema: bool
    left: str
    config_text: str = ""
    config_name: str = ""

    @property
    def signature(self) -> str:
        """The sha256 over the names and shapes: equal for two checkpoints of one network."""
        lines = sorted(f"{name} {list(tensor.shape)}" for name, tensor in self._by_plain_key().items())
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()

    def _by_plain_key(self) -> dict[str, Tensor]:
        return {plain: self.tensors[name] for name, plain in plain_keys(self.tensors).items()}


def find_weights(value: object) -> Weights | str:
    """The weights in what a checkpoint's pickle gives; a text that says what is there where there are none."""
    content = _Plain().of(value)
    if isinstance(value, Tensor):
        return "it holds one tensor"
    try:
        found = find_state(content, lambda one: isinstance(one, Tensor))
    except StateError as error:
        return str(error)
    meta = content.get("meta") if isinstance(content, dict) else None
    meta = meta if isinstance(meta, dict) else {}
    text = next((meta[key] for key in ("config", "cfg") if isinstance(meta.get(key), str)), "")
    name = next((meta[key] for key in ("exp_name", "experiment_name") if isinstance(meta.get(key), str)), "")
    return Weights(tensors=found.tensors, ema=found.ema, left=found.left, config_text=text, config_name=name)


def weights_of_tensors(tensors: Mapping[str, Tensor]) -> Weights | str:
    """The weights of a file that is a flat list of tensors."""
    try:
        found = find_state(tensors, lambda one: True)
    except StateError as error:
        return str(error)
    return Weights(tensors=found.tensors, ema=found.ema, left=found.left)


def digest_tensors(weights: Weights, read: ReadStorage) -> str:
    """The sha256 over every weight's name, kind, shape and bytes, in the order of the names."""
    digest = hashlib.sha256()
    for name, plain in sorted(plain_keys(weights.tensors).items(), key=lambda pair: pair[1]):
        tensor = weights.tensors[name]
        digest.update(f"{plain} {tensor.kind} {list(tensor.shape)}\n".encode())
        digest.update(tensor_bytes(tensor, read(tensor.storage)))
    return digest.hexdigest()


def tensor_bytes(tensor: Tensor, content: bytes) -> bytes | memoryview:
    """The tensor's bytes in the order of its indices."""
    size, count = ITEM_BYTES[tensor.kind], math.prod(tensor.shape)
    begin = tensor.offset * size
    expected = 1
    for length, step in zip(reversed(tensor.shape), reversed(tensor.stride), strict=True):
        if length != 1 and step != expected:
            return _strided(tensor, content, size)
        expected *= length
    return memoryview(content)[begin : begin + count * size]


def _strided(tensor: Tensor, content: bytes, size: int) -> bytes:
    """As `tensor_bytes`, for a view that is not laid out in that order."""
    import numpy as np

    if not math.prod(tensor.shape):
        return b""
    items = np.frombuffer(content, dtype=np.dtype(f"V{size}"))[tensor.offset :]
    strides = tuple(step * size for step in tensor.stride)
    return np.lib.stride_tricks.as_strided(items, tensor.shape, strides, writeable=False).tobytes()


class _Plain:
    """Turns the stand-ins of a pickle's values into dictionaries and lists; what is referred to twice, once."""

    def __init__(self) -> None:
        self._done: dict[int, Any] = {}

    def of(self, value: object, depth: int = 0) -> Any:
        if id(value) in self._done:
            return self._done[id(value)]
        if depth > _MOST_NESTED:
            return None
        if isinstance(value, Pairs):
            mapping: dict[Any, Any] = {}
            self._done[id(value)] = mapping
            for index, (key, one) in enumerate(value.pairs):
                mapping[key if isinstance(key, str) else index] = self.of(one, depth + 1)
            return mapping
        if isinstance(value, (Items, tuple)):
            values = value.items if isinstance(value, Items) else value
            listed: list[Any] = []
            self._done[id(value)] = listed
            listed.extend(self.of(one, depth + 1) for one in values)
            return listed
        return value
