"""Pickles of tensors and mmdet3d's boxes as `mmcv.dump` writes them, made without torch: real pickles of stand-ins."""

from __future__ import annotations

import io
import pickle
import struct
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tests.stand_in_modules import stand_in

MAGIC = 0x1950A86A20F9469CFC6C
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}


class FloatStorage:
    """Stands for torch.FloatStorage."""


class LongStorage:
    """Stands for torch.LongStorage."""


KINDS: dict[Any, type[Any]] = {np.dtype(np.float32): FloatStorage, np.dtype(np.int64): LongStorage}


class Storage:
    """The items of a tensor: within a pickle, the bytes that `torch.save` gives of it in its older form."""

    def __init__(self, items: NDArray[Any]) -> None:
        self.items = items

    def __reduce__(self) -> Any:
        return _load_from_bytes, (self._saved(),)

    def _saved(self) -> bytes:
        stream = io.BytesIO()
        for part in (MAGIC, 1001, SYSTEM):
            pickle.dump(part, stream, 2)
        _Outside(stream, 2).dump(self)
        pickle.dump(["94367480112"], stream, 2)
        stream.write(struct.pack("<q", len(self.items)) + self.items.tobytes())
        return stream.getvalue()


class _Outside(pickle.Pickler):
    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, Storage):
            return ("storage", KINDS[value.items.dtype], "94367480112", "cpu", len(value.items), None)
        return None


class Tensor:
    """Stands for a tensor; `transposed` ones have the strides of a view."""

    def __init__(self, array: NDArray[Any], *, transposed: bool = False) -> None:
        self.array, self.transposed = np.ascontiguousarray(array), transposed

    def __reduce__(self) -> Any:
        own = np.ascontiguousarray(self.array.T) if self.transposed else self.array
        strides = tuple(step // own.itemsize for step in own.strides)
        shape, strides = (own.T.shape, strides[::-1]) if self.transposed else (own.shape, strides)
        return _rebuild_tensor_v2, (Storage(own.ravel()), 0, shape, strides, False, OrderedDict())


class LiDARInstance3DBoxes:
    """Stands for mmdet3d's boxes."""

    def __init__(self, rows: NDArray[Any]) -> None:
        self.tensor, self.box_dim, self.with_yaw = Tensor(rows), rows.shape[1], True


def _rebuild_tensor_v2(*arguments: Any) -> None:
    raise AssertionError("a pickle was run")


def _load_from_bytes(*arguments: Any) -> None:
    raise AssertionError("a pickle was run")


@contextmanager
def names() -> Iterator[None]:
    """Let pickle find the stand-ins where torch and mmdet3d have the real ones."""
    modules: dict[str, dict[str, Any]] = {
        "torch": {"FloatStorage": FloatStorage, "LongStorage": LongStorage},
        "torch._utils": {"_rebuild_tensor_v2": _rebuild_tensor_v2},
        "torch.storage": {"_load_from_bytes": _load_from_bytes},
        "mmdet3d": {},
        "mmdet3d.core": {},
        "mmdet3d.core.bbox": {},
        "mmdet3d.core.bbox.structures": {},
        "mmdet3d.core.bbox.structures.lidar_box3d": {"LiDARInstance3DBoxes": LiDARInstance3DBoxes},
    }
    with stand_in(modules):
        yield


def dumps(content: object, protocol: int = 4) -> bytes:
    """The pickle that `mmcv.dump` would write."""
    with names():
        return pickle.dumps(content, protocol)
