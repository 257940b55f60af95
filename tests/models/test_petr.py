"""PETR's adapter: its boxes become standard records; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.petr_proof import (
    BETWEEN_STACKS,
    TOLERANCE,
    VARIANTS,
    Scenes,
    compare_submissions,
    convert_car,
    differences,
    environment,
    load_demo,
    make_scenes,
)

full = pytest.mark.full


def test_its_boxes_are_of_mmdet3d_017() -> None:
    """Width, length, height, and a yaw that is -π for a car that looks where the vehicle looks."""
    box = convert_car(load_demo("PETR").PETR(), [1.9, 4.5, 1.6, -np.pi])
    assert np.allclose(box.center, [10.94, -3.0, 0.84], atol=1e-6)
    assert np.allclose(box.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(np.abs(box.rotation_wxyz), [1.0, 0.0, 0.0, 0.0], atol=1e-6)
    assert np.allclose(box.velocity, [2.0, -1.0], atol=1e-6)


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_adapter_gives_what_upstream_gives(variant: str, scenes: Scenes) -> None:
    tokens = scenes.data.scenes()[0].samples
    ours = np.load(scenes.run("PETR", variant, "ours", tokens) / "ours.npz")
    folder = scenes.run("PETR", variant, "upstream", tokens)
    found = differences(ours, np.load(folder / "upstream.npz"))
    print(json.dumps(found))
    assert set(found) == {"img", "lidar2img", "classes", "codes", "boxes_3d", "scores_3d", "labels_3d"}
    assert found["img"] == found["labels_3d"] == 0.0
    assert max(found.values()) <= TOLERANCE
    assert np.ptp(ours["0/boxes_3d"][:, :2], axis=0).min() > 20, "boxes all around, so that the comparison means much"
    assert compare_submissions(scenes, folder) > 20


@full
@pytest.mark.timeout(1800)
def test_the_variants_agree(scenes: Scenes) -> None:
    tokens = scenes.data.scenes()[0].samples
    modern, classic = (np.load(scenes.run("PETR", variant, "ours", tokens) / "ours.npz") for variant in VARIANTS)
    found = differences(modern, classic)
    print(json.dumps(found))
    assert found["img"] == 0.0
    assert max(found["classes"], found["codes"], found["scores_3d"]) <= BETWEEN_STACKS


@full
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, scenes: Scenes, admlops: Admlops) -> None:
    environment("PETR", variant)
    options = ("--data", scenes.root, "--limit", "2", "--device", "cpu", "--variant", variant, "--run", f"p-{variant}")
    done = admlops("run", "PETR", *options, "--weights", "random:0")
    assert done.returncode == 0, done.stderr
    assert "the weights are random" in done.stderr
    assert "2 samples ok" in done.stdout


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return make_scenes(tmp_path_factory.mktemp("petr"))
