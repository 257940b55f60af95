"""What is taken: weights however a trainer wrapped them, and beside them data of any class, which is never executed."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import pathlib
import pickle
import types
import uuid
from collections import OrderedDict
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from tests.checkpoints.torch_files import (
    STORAGES,
    Tensor,
    checkpoint,
    pickled,
    write_legacy,
    write_safetensors,
    write_zip,
)

from admlops.checkpoints import inspect
from admlops.core.errors import CheckpointError
from admlops.worker.mmlab.common import checkpoint_file as worker


class Plain:
    """A class of one's own with a state."""

    def __init__(self) -> None:
        self.learning_rate = 0.1
        self.nested = {"names": ["a", "b"]}


@dataclasses.dataclass
class Options:
    epochs: int = 24
    names: list[str] = dataclasses.field(default_factory=lambda: ["a"])


@dataclasses.dataclass(frozen=True)
class Frozen:
    epochs: int = 24


class Slots:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 3


class Point(NamedTuple):
    x: int
    y: int


class Mode(enum.Enum):
    TRAIN = "train"


class Level(enum.IntEnum):
    HIGH = 3


class Config(dict[str, Any]):
    """As EasyDict and yacs' CfgNode: a dictionary with attributes."""


class CalledConfig(dict[str, Any]):
    """As mmengine's ConfigDict: pickled as a call with its items."""

    def __reduce_ex__(self, protocol: object) -> Any:
        return self.__class__, (dict(self),), None, None, None


class Listed(list[int]):
    pass


class HistoryBuffer:
    """As mmengine's: its state holds functions of its class, which pickle names by getattr."""

    def __init__(self) -> None:
        self.__dict__.update(_log_history=np.ones(3), statistics_methods={"mean": HistoryBuffer.mean})

    def mean(self) -> float:
        return 0.0


class ExecutedError(Exception):
    """Code of a checkpoint ran."""


class Guard:
    """Whatever of it runs raises."""

    def __init__(self) -> None:
        self.value = 1

    def __setstate__(self, state: object) -> None:
        raise ExecutedError

    def __new__(cls, *given: object) -> Any:
        if given:
            raise ExecutedError
        return super().__new__(cls)

    def __getnewargs__(self) -> tuple[int]:
        return (1,)


DATA: dict[str, object] = {
    "plain object": Plain(),
    "dataclass": Options(),
    "frozen dataclass": Frozen(),
    "slots": Slots(),
    "named tuple": Point(1, 2),
    "enumeration": Mode.TRAIN,
    "enumeration of integers": Level.HIGH,
    "dictionary class": Config(a=1, b={"c": 2}),
    "dictionary class that is called": CalledConfig(a=1),
    "list class": Listed([1, 2]),
    "mmengine's history": OrderedDict(loss=HistoryBuffer()),
    "class by name": Plain,
    "function by name": HistoryBuffer.mean,
    "guard": Guard(),
    "datetime": dt.datetime(2024, 1, 2, 3, 4, tzinfo=dt.timezone(dt.timedelta(hours=2))),
    "date": dt.date(2024, 1, 2),
    "duration": dt.timedelta(seconds=3),
    "namespace": argparse.Namespace(lr=0.1, gpus=[0, 1], when=dt.date(2024, 1, 2)),
    "simple namespace": types.SimpleNamespace(a=1),
    "path": pathlib.PurePosixPath("/data/nuscenes"),
    "ordered": OrderedDict(a=1),
    "default dictionary": collections.defaultdict(list, a=[1]),
    "counter": collections.Counter([16, 22]),
    "queue": collections.deque([1, 2], maxlen=5),
    "uuid": uuid.UUID(int=7),
    "decimal": decimal.Decimal("0.1"),
    "fraction": fractions.Fraction(1, 3),
    "slice": slice(1, 2),
    "range": range(3),
    "bytes": bytearray(b"\x80\xff"),
    "NumPy's scalar": np.float64(0.5),
    "NumPy's boolean": np.bool_(True),
    "NumPy's text": np.str_("a"),
    "NumPy's array": np.arange(12).reshape(3, 4).T,
    "NumPy's objects": np.array([{"a": 1}, None], dtype=object),
    "NumPy's random state": np.random.RandomState(0).get_state(),
    "NumPy's dtype": np.dtype("float32"),
    "types": {"lr": float, "name": str},
    "keys that are no texts": {1: "a", (1, 2): "b", Mode.TRAIN: "c", dt.date(2024, 1, 2): "d"},
    "set of dates": {dt.date(2024, 1, 2)},
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("name", DATA)
def test_data_beside_the_weights_is_taken_and_nothing_of_it_runs(tmp_path: Path, name: str, protocol: int) -> None:
    content = pickled({**checkpoint(), "extra": DATA[name]}, protocol)
    for write in (write_zip, write_legacy):
        seen = inspect(write(tmp_path / "w.pth", content, STORAGES), whole=True)
        assert sorted(seen.weights.tensors) == ["backbone.bias", "backbone.weight"]
    # The worker's reader takes the same pickle, with stand-ins.
    loaded = worker._inert_pickle().load(io.BytesIO(pickle.dumps({"extra": DATA[name]}, protocol)))
    assert set(loaded) == {"extra"}


def test_the_guard_would_have_run(tmp_path: Path) -> None:
    with pytest.raises(ExecutedError):
        pickle.loads(pickle.dumps(Guard(), 2))


def state(prefix: str = "", *, of: str = "0") -> OrderedDict[str, Any]:
    return OrderedDict({f"{prefix}backbone.weight": Tensor(of, 4, 3), f"{prefix}head.bias": Tensor("1", 3)})


FOUR = {"0": 12, "1": 3, "2": 12, "3": 3}
TRAINED, AVERAGED = state(), OrderedDict({"backbone.weight": Tensor("2", 4, 3), "head.bias": Tensor("3", 3)})
WRAPPED: dict[str, Any] = {
    "mm libraries": {
        "meta": {"epoch": 1},
        "state_dict": TRAINED,
        "optimizer": {"state": {0: {"exp_avg": Tensor("3", 3)}}},
    },
    "timm": {"epoch": 1, "state_dict": TRAINED, "args": argparse.Namespace(lr=1)},
    "detectron2": {"model": TRAINED, "optimizer": {"state": {}}, "iteration": 3},
    "net": {"net": TRAINED, "acc": 0.5},
    "module": {"module": TRAINED, "lr_scheduler": {"last_epoch": 1}},
    "the state alone": TRAINED,
    "twice": {"checkpoint": {"model": TRAINED}},
    "under a name of one's own": {"detector": TRAINED, "optimizer_state_dict": {"state": {0: {"a": Tensor("3", 3)}}}},
    "data parallel": {"state_dict": state("module.")},
    "Lightning": {"state_dict": state("model."), "hyper_parameters": {"lr": 1}, "loops": {}},
    "compiled": {"model": state("_orig_mod.")},
    "compiled data parallel": {"model": state("module._orig_mod.")},
    "an inner wrapper": {
        "state_dict": OrderedDict({"backbone.module.weight": Tensor("0", 4, 3), "head.bias": Tensor("1", 3)})
    },
    "a dictionary class": Config(state_dict=TRAINED),
}


@pytest.mark.parametrize("name", WRAPPED)
def test_weights_are_found_however_they_are_wrapped(tmp_path: Path, name: str) -> None:
    plain = inspect(write_zip(tmp_path / "plain.pth", pickled(TRAINED), FOUR), whole=True)
    for write in (write_zip, write_legacy):
        used = [key for key in FOUR if write is write_zip or f"'{key}'" in str(keys_in(WRAPPED[name]))]
        seen = inspect(write(tmp_path / "w.pth", pickled(WRAPPED[name]), {key: FOUR[key] for key in used}), whole=True)
        assert seen.weights.signature == plain.weights.signature
        assert seen.tensors_sha256 == plain.tensors_sha256
        assert not seen.weights.ema


def keys_in(value: Any) -> list[str]:
    """The storages of the tensors in a content."""
    if isinstance(value, Tensor):
        return [value.storage.key]
    if isinstance(value, dict):
        return [key for one in value.values() for key in keys_in(one)]
    return []


def test_the_same_weights_in_safetensors_have_the_same_digest(tmp_path: Path) -> None:
    first = inspect(write_zip(tmp_path / "w.pth", pickled({"state_dict": state("module.")}), FOUR), whole=True)
    header = {
        "head.bias": {"dtype": "F32", "shape": [3], "data_offsets": [0, 12]},
        "backbone.weight": {"dtype": "F32", "shape": [4, 3], "data_offsets": [12, 60]},
    }
    # torch_files' strides are all 1, and so are its bytes.
    second = inspect(write_safetensors(tmp_path / "w.bin", header, b"\x01" * 60), whole=True)
    assert first.weights.signature == second.weights.signature
    assert first.tensors_sha256 == second.tensors_sha256


AVERAGES: dict[str, tuple[Any, bool, str]] = {
    # content, whether the average is taken, what is left aside
    "timm": ({"state_dict": TRAINED, "state_dict_ema": AVERAGED}, False, "state_dict_ema"),
    "mmengine": (
        {
            "state_dict": TRAINED,
            "ema_state_dict": {"steps": Tensor("3", 3), "module.backbone.weight": Tensor("2", 4, 3)},
        },
        False,
        "ema_state_dict",
    ),
    "nested": ({"model": TRAINED, "ema": {"module": AVERAGED}}, False, "ema.module"),
    "mmcv's hook": ({"state_dict": {**TRAINED, "ema_head_bias": Tensor("3", 3)}}, False, "keys that begin with ema_"),
    "alone": ({"state_dict_ema": AVERAGED, "epoch": 3}, True, ""),
    "alone, nested": ({"ema_model": {"state_dict": AVERAGED}}, True, ""),
    "none": ({"state_dict": TRAINED}, False, ""),
    "a part that is only called so": ({"state_dict": {**TRAINED, "ema_head.bias": Tensor("3", 3)}}, False, ""),
}


@pytest.mark.parametrize("name", AVERAGES)
def test_a_moving_average_beside_the_weights_is_left_and_known(tmp_path: Path, name: str) -> None:
    content, ema, left = AVERAGES[name]
    seen = inspect(write_zip(tmp_path / "w.pth", pickled(content), FOUR), whole=True)
    assert (seen.weights.ema, seen.weights.left) == (ema, left)
    assert "steps" not in seen.weights.tensors


def test_several_sets_of_weights_are_not_guessed_from(tmp_path: Path) -> None:
    content = {"generator": TRAINED, "discriminator": AVERAGED}
    with pytest.raises(CheckpointError, match="several sets of weights \\(generator, discriminator\\)"):
        inspect(write_zip(tmp_path / "w.pth", pickled(content), FOUR))


def test_an_optimizer_alone_is_no_checkpoint(tmp_path: Path) -> None:
    content = {"optimizer": {"state": {0: {"exp_avg": Tensor("3", 3)}}}, "epoch": 3}
    with pytest.raises(CheckpointError, match="no weights by name; it has tensors under optimizer"):
        inspect(write_zip(tmp_path / "w.pth", pickled(content), FOUR))


def test_a_content_without_end_is_refused_in_time(tmp_path: Path) -> None:
    shared: dict[str, Any] = {"x": 1}
    for _ in range(40):
        shared = {f"k{i}": shared for i in range(40)}
    circle: dict[str, Any] = {}
    circle["again"] = circle
    for content in (shared, circle):
        with pytest.raises(CheckpointError, match="without weights"):
            inspect(write_zip(tmp_path / "w.pth", pickled(content), {}))


def test_the_configuration_that_a_trainer_kept_is_read(tmp_path: Path) -> None:
    content = {**checkpoint(), "meta": {"config": "img_norm_cfg = dict()", "exp_name": "maptr_tiny_r50_24e.py"}}
    seen = inspect(write_zip(tmp_path / "w.pth", pickled(content), STORAGES))
    assert (seen.weights.config_text, seen.weights.config_name) == ("img_norm_cfg = dict()", "maptr_tiny_r50_24e.py")
