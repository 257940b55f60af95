"""What fits a model is loaded and what does not is named; weights drawn at random are the same everywhere."""

from __future__ import annotations

import io
import os
import pickle
from typing import Any

import numpy as np
import pytest

from worker.mmlab.v1 import weights
from worker.mmlab.v1.weights import WeightsError, compare_keys, parse_random, random_array

MODEL = {f"layer{i}.weight": (4, 4) for i in range(200)}


def test_a_whole_checkpoint_fits() -> None:
    report = compare_keys(MODEL, MODEL)
    report.check("model.pth")
    assert report.summary() == "200 of 200 tensors loaded"


def test_keys_of_no_account_are_counted_apart() -> None:
    checkpoint = {**MODEL, "attention.grid_offsets": (15, 2), "bn.num_batches_tracked": ()}
    report = compare_keys(MODEL, checkpoint, tolerated=("grid_offsets",))
    assert report.unexpected == ()
    assert report.tolerated == ("attention.grid_offsets", "bn.num_batches_tracked")


@pytest.mark.parametrize("absent", [2, 3])
def test_one_tensor_in_a_hundred_may_be_absent_and_no_more(absent: int) -> None:
    checkpoint = dict(list(MODEL.items())[absent:])
    report = compare_keys(MODEL, checkpoint)
    assert report.missing == tuple(f"layer{i}.weight" for i in range(absent))
    if absent / len(MODEL) <= weights.MAX_ABSENT_SHARE:
        report.check("model.pth")
    else:
        with pytest.raises(WeightsError, match=r"model.pth does not fit.*3 missing \(layer0.weight"):
            report.check("model.pth")


def test_other_shapes_count_as_absent() -> None:
    report = compare_keys(MODEL, {**MODEL, **{f"layer{i}.weight": (4, 8) for i in range(50)}})
    assert len(report.mismatched) == 50
    with pytest.raises(WeightsError, match=r"150 of 200 tensors loaded; 50 mismatched \(.* and 45 more\)"):
        report.check("wide.pth")


def test_a_checkpoint_of_another_model_is_refused() -> None:
    extra = {f"other{i}": (1,) for i in range(20)}
    with pytest.raises(WeightsError, match="20 unexpected"):
        compare_keys(MODEL, {**MODEL, **extra}).check("other.pth")


def test_random_values_depend_on_key_and_seed_alone() -> None:
    first = random_array("conv.weight", (2, 3), 0)
    assert np.array_equal(first, random_array("conv.weight", (2, 3), 0))
    assert not np.array_equal(first, random_array("conv.weight", (2, 3), 1))
    assert not np.array_equal(first, random_array("other.weight", (2, 3), 0))


def test_random_values_keep_the_signal_alive() -> None:
    assert random_array("fc.weight", (256, 512), 0).std() == pytest.approx(512**-0.5, rel=0.02)
    assert random_array("bn.weight", (4096,), 0).mean() == pytest.approx(1.0, abs=0.01)
    assert random_array("bn.bias", (4096,), 0).mean() == pytest.approx(0.0, abs=0.01)
    assert random_array("bn.running_var", (4096,), 0).min() >= 0.5


@pytest.mark.parametrize("text", ["random", "random:", "random:-1", "random:x", "7", ""])
def test_a_seed_is_wanted(text: str) -> None:
    with pytest.raises(WeightsError, match="random:SEED"):
        parse_random(text)
    assert parse_random("random:7") == 7


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"meta": {"config": _Evil(), "epoch": 24}, "values": np.arange(3)})
    loaded = weights._inert_pickle().load(io.BytesIO(content))
    assert loaded["meta"]["epoch"] == 24
    assert loaded["meta"]["config"] == {}
    assert not (tmp_path / "evil").exists()
    assert pickle.loads(content)["meta"]["epoch"] == 24, "the checkpoint is one that pickle itself would run"
    assert (tmp_path / "evil").is_dir()
