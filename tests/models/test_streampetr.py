"""StreamPETR's adapter: its boxes become standard records; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import TOLERANCE, VARIANTS, differences, load_module, run_two_samples
from tests.models.fidelity_compare import largest
from tests.models.petr_proof import (
    Scenes,
    check_agreement,
    compare_known_boxes,
    compare_submissions,
    convert_car,
    make_scenes,
)

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.worker.adapter import Settings

full = pytest.mark.full
OUTPUTS = ("classes", "codes", "boxes_3d", "scores_3d", "labels_3d")
INPUTS = ("img", "lidar2img", "intrinsics", "extrinsics", "timestamp", "img_timestamp", "ego_pose", "ego_pose_inv")


def test_its_boxes_are_of_mmdet3d_1() -> None:
    """Length, width, height, and a yaw that is π/2 for a car that looks where the vehicle looks."""
    box = convert_car(load_module("StreamPETR").StreamPETR(), [4.5, 1.9, 1.6, np.pi / 2])
    assert np.allclose(box.center, [10.94, -3.0, 0.84], atol=1e-6)
    assert np.allclose(box.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(np.abs(box.rotation_wxyz), [1.0, 0.0, 0.0, 0.0], atol=1e-6)
    assert np.allclose(box.velocity, [2.0, -1.0], atol=1e-6)


def test_the_catalogues_fix_is_one_that_the_adapter_knows(plugin: None) -> None:
    adapter = load_module("StreamPETR").StreamPETR()
    fix = load_model(find_layout(), "StreamPETR").fixes["plain-attention"]
    config = SimpleNamespace(model=flash_model())
    adapter.apply_fix(config, fix.settings)
    plain = {"type": "PETRMultiheadAttention", "num_heads": 8}
    assert config.model["head"]["attn_cfgs"] == [{"type": "MultiheadAttention", "num_heads": 8}, plain]
    assert config.model["img_backbone"] == {"type": "EVAViT", "flash_attn": False}
    unfixed = SimpleNamespace(model=flash_model())
    adapter.adjust(unfixed)
    assert unfixed.model == config.model, "no environment has flash-attn"


@pytest.mark.parametrize("asked", [False, True], ids=["not asked for", "asked for"])
def test_the_record_names_the_fix_whoever_asked_for_it(
    asked: bool, plugin: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    demo = load_module("StreamPETR")
    fix = load_model(find_layout(), "StreamPETR").fixes["plain-attention"]

    def load(adapter: Any, settings: Settings) -> list[str]:
        config = SimpleNamespace(model=flash_model())
        for wanted in settings.options.values():
            adapter.apply_fix(config, wanted)
        adapter.adjust(config)
        return list(settings.options)

    monkeypatch.setattr(demo.MmAdapter, "load", load)
    settings = Settings(options={"plain-attention": fix.settings} if asked else {})
    assert demo.StreamPETR().load(settings) == ["plain-attention"]


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    """A module of the source that the adapter reaches into."""
    plugin = ModuleType("projects.mmdet3d_plugin.models.utils.detr3d_transformer")
    plugin.MultiScaleDeformableAttnFunction = None  # type: ignore[attr-defined]
    for parts in range(1, 6):
        name = ".".join(plugin.__name__.split(".")[:parts])
        monkeypatch.setitem(sys.modules, name, plugin if parts == 5 else ModuleType(name))


def test_a_new_scene_is_one_to_the_network_even_with_the_same_token() -> None:
    model = SimpleNamespace(prev_scene_token="scene")
    load_module("StreamPETR").StreamPETR().reset(model)
    assert model.prev_scene_token is None


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, scenes: Scenes) -> None:
    tokens = sequence(scenes)
    ours = np.load(scenes.run("StreamPETR", variant, "ours", tokens) / "ours.npz")
    folder = scenes.run("StreamPETR", variant, "upstream", tokens)
    found = differences(ours, np.load(folder / "upstream.npz"))
    print(json.dumps(found))
    assert set(found) == {*INPUTS, *OUTPUTS}
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    assert np.ptp(ours["0/boxes_3d"][:, :2], axis=0).min() > 10, "boxes far apart, so that the comparison means much"
    assert compare_submissions(scenes, folder) > 0
    assert compare_known_boxes(scenes, folder, "StreamPETR") > 400
    assert largest(ours["1/codes"], ours["3/codes"]) > 0.01, "what it saw before makes a difference"


@full
@pytest.mark.timeout(3600)
def test_the_variants_agree(scenes: Scenes) -> None:
    check_agreement(scenes, "StreamPETR", sequence(scenes))


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, scenes: Scenes, admlops: Admlops) -> None:
    assert "plain-attention" in run_two_samples(admlops, "StreamPETR", variant, scenes.root)


def sequence(scenes: Scenes) -> list[str]:
    """Two samples of a scene, one of another, and the first scene's second one again, with nothing before it."""
    first, second = scenes.data.scenes()[:2]
    return [*first.samples[:2], second.samples[0], first.samples[1]]


def flash_model() -> dict[str, Any]:
    attention = [{"type": name, "num_heads": 8} for name in ("MultiheadAttention", "PETRMultiheadFlashAttention")]
    return {"img_backbone": {"type": "EVAViT", "flash_attn": True}, "head": {"attn_cfgs": attention}}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return make_scenes(tmp_path_factory.mktemp("streampetr"))
