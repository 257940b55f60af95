"""Whole networks and pickles of NumPy arrays, for models whose authors publish those: read as data, or refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.checkpoints.torch_files import STORAGES, FloatStorage, Tensor, pickled, write_zip
from tests.stand_in_modules import stand_in

from admlops.catalog import load_model
from admlops.checkpoints import add, describe, inspect, path_of
from admlops.core.errors import CheckpointError
from admlops.core.paths import find_layout
from worker.mmlab.common.checkpoint_file import _Unpickler, flatten

LAYOUT = find_layout()


class Layer:
    """As torch.nn.Module keeps its tensors and modules."""

    def __init__(self, parameters: dict[str, Any], modules: dict[str, Any], **more: Any) -> None:
        self._parameters = OrderedDict(parameters)
        self._buffers: dict[str, Any] = {"passing": Tensor("0", 4, 3)} if more.pop("passing", False) else {}
        self._non_persistent_buffers_set = set(self._buffers)
        self._modules = OrderedDict(modules)
        vars(self).update(more)


class Conv2d(Layer):
    """Stands for torch's."""


class DetectionModel(Layer):
    """Stands for an author's."""


class Runs:
    """Makes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return os.system, ("touch canary",)


def network(**more: Any) -> DetectionModel:
    conv = Conv2d({"weight": Tensor("0", 4, 3), "bias": Tensor("94367480112", 4)}, {}, kernel_size=(3, 3), **more)
    return DetectionModel({}, {"model": Layer({}, {"0": conv})}, yaml={"nc": 80}, names={0: "person"})


def save(path: Path, content: object, protocol: int = 2) -> Path:
    modules: dict[str, dict[str, Any]] = {
        "torch.nn.modules.conv": {"Conv2d": Conv2d},
        "torch.nn.modules.container": {"Layer": Layer},
        "ultralytics.nn.tasks": {"DetectionModel": DetectionModel},
    }
    parents = ("torch.nn", "torch.nn.modules", "ultralytics", "ultralytics.nn")
    with stand_in({**{name: {} for name in parents}, **modules}):
        data = pickled(content, protocol)
    return write_zip(path, data, STORAGES)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("key", ["model", "ema"])
def test_a_whole_network_is_the_tensors_of_its_layers(tmp_path: Path, protocol: int, key: str) -> None:
    file = save(tmp_path / "a.pt", {"epoch": -1, "model": None, "ema": None, key: network()}, protocol)
    seen = inspect(file, whole=True, form="network")
    assert sorted(seen.weights.tensors) == ["model.0.bias", "model.0.weight"]
    assert seen.weights.ema == (key == "ema")
    plain = {"state_dict": {"model.0.weight": Tensor("0", 4, 3), "model.0.bias": Tensor("94367480112", 4)}}
    assert inspect(save(tmp_path / "b.pt", plain), whole=True).weights.signature == seen.weights.signature
    with pytest.raises(CheckpointError, match="a whole network was saved, with its code, not its weights"):
        inspect(file)


@pytest.mark.parametrize("place", ["beside", "within a layer"])
def test_code_in_a_whole_network_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    monkeypatch.chdir(tmp_path)
    content = {"model": network(), "hook": Runs()} if place == "beside" else {"model": network(hook=Runs())}
    with pytest.raises(CheckpointError, match=r"names (posix|nt)\.system"):
        inspect(save(tmp_path / "a.pt", content), form="network")
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize(
    "name", ["torch.nn.modules.module _load", "torch.nn.functional relu", "torch.hub load", "torch.nn.modules getattr"]
)
def test_functions_of_torch_are_no_layers(tmp_path: Path, name: str) -> None:
    module, _, attribute = name.partition(" ")
    called = b"c" + module.encode() + b"\n" + attribute.encode() + b"\n)R."
    with pytest.raises(CheckpointError, match=f"names {module}.{attribute}"):
        inspect(write_zip(tmp_path / "a.pt", called, {}), form="network")


def test_a_layer_is_never_called(tmp_path: Path) -> None:
    called = b"ctorch.nn.modules.conv\nConv2d\n)R."
    with pytest.raises(CheckpointError, match=r"calls torch\.nn\.modules\.conv\.Conv2d"):
        inspect(write_zip(tmp_path / "a.pt", called, {}), form="network")


ARRAYS: dict[str, Any] = {
    "conv.weight": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(6, dtype=np.float16).reshape(2, 3)),
    "norm.steps": np.array(3, dtype=np.int64),
}


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_a_pickle_of_arrays_is_its_tensors(tmp_path: Path, protocol: int) -> None:
    """The same digest whatever the protocol, and whatever the order in which an array lies in memory."""
    file, other = tmp_path / "model_final.pkl", tmp_path / "rows.pkl"
    file.write_bytes(pickle.dumps({"model": ARRAYS, "__author__": "Detectron2 Model Zoo"}, protocol))
    seen = inspect(file, whole=True, form="arrays")
    assert seen.format == "NumPy pickle"
    shapes = {name: array.shape for name, array in ARRAYS.items()}
    assert {name: one.shape for name, one in seen.weights.tensors.items()} == shapes
    in_rows = {name: np.array(array, order="C") for name, array in ARRAYS.items()}
    other.write_bytes(pickle.dumps({"model": in_rows}, 4))
    assert inspect(other, whole=True, form="arrays").tensors_sha256 == seen.tensors_sha256
    with pytest.raises(CheckpointError, match=r"a pickle of NumPy arrays, but not one that torch\.save wrote"):
        inspect(file)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"model": ARRAYS, "hook": Runs()}, r"names (posix|nt)\.system"),
        ({"model": {"a.b": np.array([print], dtype=object)}}, "names builtins.print|makes an array of something else"),
        ({"model": {"a.b": np.ones(2, ">f4")}}, "another order of bytes"),
        ({"model": {"a.b": np.array(["text"])}}, "makes an array of something else"),
    ],
)
def test_arrays_of_something_else_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: object, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(content, 4))
    with pytest.raises(CheckpointError, match=said):
        inspect(file, form="arrays")
    assert not (tmp_path / "canary").exists()


def test_nothing_may_follow_the_arrays(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"model": ARRAYS}, 4) + pickle.dumps(Runs()))
    with pytest.raises(CheckpointError, match="something follows the pickle"):
        inspect(file, form="arrays")


def rebuild(storage: str, *_: object) -> str:
    """Stands for torch's own, which the host does not have."""
    return f"tensor of {storage}"


class _Reader(_Unpickler):
    def persistent_load(self, pid: Any) -> Any:
        return pid[2]


def test_the_workers_reader_keeps_the_tensors_of_a_network_and_nothing_else(tmp_path: Path) -> None:
    """A network's lasting tensors by their keys; its other attributes, and its classes, are left in the file."""
    file = save(tmp_path / "a.pt", {"model": network(passing=True), "epoch": 3})
    with zipfile.ZipFile(file) as archive:
        data = archive.read("w/data.pkl")
    rebuild.__qualname__ = rebuild.__name__ = "_rebuild_tensor_v2"
    with stand_in({"torch": {"FloatStorage": FloatStorage}, "torch._utils": {"_rebuild_tensor_v2": rebuild}}):
        content = flatten(_Reader(io.BytesIO(data)).load())
    tensors = {"model.0.weight": "tensor of 0", "model.0.bias": "tensor of 94367480112"}
    assert content == {"model": tensors, "epoch": 3}


def test_a_file_is_described_in_the_form_that_it_has(tmp_path: Path) -> None:
    file = save(tmp_path / "a.pt", {"model": network()})
    assert describe(LAYOUT, [load_model(LAYOUT, "YOLOv8")], file)["form"] == "network"


def test_a_hash_begins_as_its_publisher_says(tmp_path: Path) -> None:
    """torch.hub's way: the first digits stand in the file's name."""
    layout, model = replace(LAYOUT, repository=tmp_path), load_model(LAYOUT, "EfficientNetB0")
    tensors = {"model.weight": Tensor("0", 4, 3), "model.bias": Tensor("94367480112", 4)}
    file = save(tmp_path / "other.pth", {"state_dict": tensors})
    with pytest.raises(CheckpointError, match="the published one begins 3dd342df"):
        add(layout, model, "efficientnet-b0-ra", file, say=lambda _: None)
    assert file.exists(), "the user's own file stays"
    assert not path_of(layout, model, "efficientnet-b0-ra").exists()
