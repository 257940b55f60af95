"""What fits a model is loaded and what does not is named; weights drawn at random are the same everywhere."""

from __future__ import annotations

import io
import os
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from admlops.catalog import list_models, load_model
from admlops.core.paths import find_layout
from worker.mmlab.catalogue import read_configs, read_table
from worker.mmlab.common import checkpoint_file
from worker.mmlab.common.weights import (
    CONSTANTS,
    WeightsError,
    _guess_version,
    compare_keys,
    parse_random,
    random_array,
)
from worker.mmlab.state_dict import find_state, fit_keys

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


def test_one_tensor_that_is_absent_is_one_too_many() -> None:
    report = compare_keys(MODEL, dict(list(MODEL.items())[1:]))
    assert report.missing == ("layer0.weight",)
    with pytest.raises(WeightsError, match=r"model.pth does not fit.*199 of 200.*1 missing \(layer0.weight\)"):
        report.check("model.pth")


def test_one_tensor_of_another_shape_is_named_with_both() -> None:
    """As StreamPETR's reference points: 2 of 591 tensors differ between two of its configurations."""
    report = compare_keys(MODEL, {**MODEL, "layer7.weight": (4, 8)})
    assert report.mismatched == ("layer7.weight",)
    with pytest.raises(WeightsError, match=r"1 mismatched \(layer7.weight \[4, 8\] for \[4, 4\]\)"):
        report.check("model.pth")
    with pytest.raises(WeightsError, match="Its tensors fit the config large: pass --config large"):
        report.check("model.pth", fitting="Its tensors fit the config large: pass --config large")


def test_many_tensors_of_other_shapes_are_counted() -> None:
    report = compare_keys(MODEL, {**MODEL, **{f"layer{i}.weight": (4, 8) for i in range(50)}})
    assert len(report.mismatched) == 50
    with pytest.raises(WeightsError, match=r"150 of 200 tensors loaded; 50 mismatched \(.* and 45 more\)"):
        report.check("wide.pth")


@pytest.mark.parametrize("ending", [*CONSTANTS, "grid_offsets"])
def test_a_constant_may_be_absent_with_a_reason(ending: str) -> None:
    model = {**MODEL, f"layer0.{ending}": (4,)}
    assert compare_keys(model, MODEL, tolerated=("grid_offsets",)).fits
    assert all(CONSTANTS.values())


def test_a_scalar_of_old_torch_is_one() -> None:
    assert compare_keys({"a.scale": ()}, {"a.scale": (1,)}).fits
    assert not compare_keys({"a.scale": (1,)}, {"a.scale": ()}).fits


def test_a_checkpoint_of_another_model_is_refused() -> None:
    extra = {f"other{i}": (1,) for i in range(20)}
    with pytest.raises(WeightsError, match="20 unexpected"):
        compare_keys(MODEL, {**MODEL, **extra}).check("other.pth")


def test_a_network_with_a_part_more_is_another_one() -> None:
    """A camera-only configuration finds all its tensors in the weights of one that reads LiDAR as well."""
    with pytest.raises(WeightsError, match="The network has no lidar_backbone"):
        compare_keys(MODEL, {**MODEL, "lidar_backbone.conv.weight": (3,)}).check("fusion.pth")


def test_a_tensor_that_only_training_used_is_named() -> None:
    report = compare_keys(MODEL, {**MODEL, "layer0.loss_weight": (3,)})
    assert report.fits
    assert report.unexpected == ("layer0.loss_weight",)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.", "module._orig_mod.", "model.module.", "net."])
def test_prefixes_of_wrappers_are_taken_away(prefix: str) -> None:
    assert fit_keys([f"{prefix}a.b", f"{prefix}c"], ["a.b", "c"]) == {f"{prefix}a.b": "a.b", f"{prefix}c": "c"}


def test_a_prefix_that_the_network_has_itself_stays() -> None:
    assert fit_keys(["model.a", "model.b"], ["model.a", "model.b"]) == {"model.a": "model.a", "model.b": "model.b"}
    assert fit_keys(["module.model.a"], ["model.a"]) == {"module.model.a": "model.a"}
    assert fit_keys(["a._orig_mod.b", "c"], ["a.b", "c"])["a._orig_mod.b"] == "a.b"


def test_a_choice_between_the_average_and_the_weights() -> None:
    content = {"state_dict": {"a": 1}, "state_dict_ema": {"a": 2}}
    usual, average = (find_state(content, lambda one: isinstance(one, int), ema=ema) for ema in (None, True))
    assert (usual.tensors, usual.ema, usual.left) == ({"a": 1}, False, "state_dict_ema")
    assert (average.tensors, average.ema, average.left) == ({"a": 2}, True, "state_dict")
    with pytest.raises(ValueError, match="no moving average"):
        find_state({"state_dict": {"a": 1}}, lambda one: isinstance(one, int), ema=True)
    with pytest.raises(ValueError, match="not the weights themselves"):
        find_state({"state_dict_ema": {"a": 1}}, lambda one: isinstance(one, int), ema=False)


def test_the_configs_of_the_catalogue_are_read_beside_the_adapter(tmp_path: Any) -> None:
    text = '[configs]\nsmall = "a/small.py"  # first\n"b.c-1" = \'b.py\'\n\n[checkpoints.small]\nconfig = "small"\n'
    assert read_table(text, "configs") == {"small": "a/small.py", "b.c-1": "b.py"}
    assert read_table(text, "fixes") == {}
    assert read_configs(object()) == {}


def test_the_worker_reads_the_same_configs_as_the_host() -> None:
    layout = find_layout()
    for name in list_models(layout):
        text = (layout.envs / name / "model.toml").read_text()
        assert read_table(text, "configs") == load_model(layout, name).configs


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


@pytest.mark.parametrize(
    ("absent", "version"),
    [
        ((), {"version": 1}),
        (("head.norm.num_batches_tracked",), {"version": 1}),
        (("head.cls.weight",), {}),
        (("other.weight",), {"version": 1}),
    ],
)
def test_a_file_without_versions_has_the_present_one_where_its_keys_are_the_present_ones(
    absent: tuple[str, ...], version: dict[str, int]
) -> None:
    """As in safetensors: mmdet's heads rename what ends in `cls` where no version is given."""
    own = ["head.cls.weight", "head.norm.weight", "head.norm.num_batches_tracked", "other.weight"]
    state = dict.fromkeys((key for key in own if key not in absent), 0)
    assert _guess_version(SimpleNamespace(_version=1), "head.", state, own) == version


def test_what_a_modules_own_hook_fills_in_is_not_taken_for_present() -> None:
    """Torch adds the counter of a normalisation to files older than it."""
    own = ["norm.weight", "norm.num_batches_tracked"]
    assert _guess_version(SimpleNamespace(_version=2), "norm.", {"norm.weight": 0}, own) == {}


class _Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("evil",)


def test_nothing_in_a_checkpoint_is_run(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    content = pickle.dumps({"meta": {"config": _Evil(), "epoch": 24}, "values": np.arange(3)})
    loaded = checkpoint_file._inert_pickle().load(io.BytesIO(content))
    assert loaded["meta"]["epoch"] == 24
    assert isinstance(loaded["meta"]["config"], checkpoint_file._Inert)
    assert not (tmp_path / "evil").exists()
    assert pickle.loads(content)["meta"]["epoch"] == 24, "the checkpoint is one that pickle itself would run"
    assert (tmp_path / "evil").is_dir()
