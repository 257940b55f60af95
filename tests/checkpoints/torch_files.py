"""Checkpoints as torch.save writes them, made without torch: real pickles of stand-ins, in torch's containers."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.stand_in_modules import stand_in

MAGIC = 0x1950A86A20F9469CFC6C


class FloatStorage:
    """Stands for torch.FloatStorage; the pickle names the class of a storage, not its content."""

    def __init__(self, key: str, items: int) -> None:
        self.key = key
        self.items = items


class Tensor:
    """Stands for a tensor of 32-bit floats."""

    def __init__(self, key: str, *shape: int) -> None:
        items = 1
        for length in shape:
            items *= length
        self.storage, self.shape = FloatStorage(key, items), shape

    def __reduce__(self) -> Any:
        stride = (1,) * len(self.shape)
        return _rebuild_tensor_v2, (self.storage, 0, self.shape, stride, False, OrderedDict())


def _rebuild_tensor_v2(*arguments: Any) -> None:
    raise AssertionError("a checkpoint was loaded")


@contextmanager
def torch_names() -> Iterator[None]:
    """Let pickle find the stand-ins where torch has the real ones."""
    modules: dict[str, dict[str, Any]] = {
        "torch": {"FloatStorage": FloatStorage},
        "torch._utils": {"_rebuild_tensor_v2": _rebuild_tensor_v2},
    }
    with stand_in(modules):
        yield


class _Pickler(pickle.Pickler):
    """Leaves the storages outside, as torch does."""

    def persistent_id(self, value: Any) -> Any:
        if isinstance(value, FloatStorage):
            return ("storage", FloatStorage, value.key, "cpu", value.items)
        return None


def pickled(content: object, protocol: int = 2) -> bytes:
    """The pickle that torch.save would write."""
    stream = io.BytesIO()
    with torch_names():
        _Pickler(stream, protocol).dump(content)
    return stream.getvalue()


def write_zip(
    path: Path, pickle_bytes: bytes, storages: dict[str, int], *, more: dict[str, bytes] | None = None, root: str = "w"
) -> Path:
    """torch's archive: `storages` maps keys to numbers of 4-byte items; `more` are further members, by full name."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(f"{root}/data.pkl", pickle_bytes)
        archive.writestr(f"{root}/byteorder", b"little")
        for key, items in storages.items():
            archive.writestr(f"{root}/data/{key}", b"\x01" * (4 * items))
        archive.writestr(f"{root}/version", b"3\n")
        for name, content in (more or {}).items():
            archive.writestr(name, content)
    return path


def write_legacy(path: Path, pickle_bytes: bytes, storages: dict[str, int]) -> Path:
    """torch's format before 1.6: magic, version, system, the pickle, the keys; then each storage."""
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    heads = [pickle.dumps(one, 2) for one in (MAGIC, 1001, system)]
    tails = [struct.pack("<q", items) + b"\x01" * (4 * items) for items in storages.values()]
    path.write_bytes(b"".join([*heads, pickle_bytes, pickle.dumps(list(storages), 2), *tails]))
    return path


def write_safetensors(path: Path, header: Any, data: bytes, *, length: int | None = None) -> Path:
    """A safetensors file; `length` is what its first 8 bytes say, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text) if length is None else length) + text + data)
    return path


def checkpoint() -> dict[str, Any]:
    """What a trainer keeps, and the storages that belong to it: see `STORAGES`."""
    weights: OrderedDict[str, Any] = OrderedDict()
    weights["backbone.weight"] = Tensor("0", 4, 3)
    weights["backbone.bias"] = Tensor("94367480112", 4)
    weights._metadata = OrderedDict({"": {"version": 1}})  # type: ignore[attr-defined]
    meta = {
        "epoch": 24,
        "config": "model = dict(type='MapTR')\n" * 50,
        "CLASSES": ("divider",),
        "seen": {1},
        "lr": 1e-3,
    }
    return {"meta": meta, "state_dict": weights, "optimizer": {"state": {0: {"step": 1}}, "groups": [[0, 1]]}}


STORAGES = {"0": 12, "94367480112": 4}
