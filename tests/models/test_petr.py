"""PETR's adapter: its boxes become standard records; with `full`, the real model against upstream's way."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.models.both_ways import (
    TOLERANCE,
    VARIANTS,
    differences,
    find_environment,
    load_module,
    run_inside,
    run_model,
    run_two_samples,
)
from tests.models.petr_proof import (
    Scenes,
    check_agreement,
    compare_known_boxes,
    compare_submissions,
    convert_car,
    make_scenes,
)

full = pytest.mark.full


def test_its_boxes_are_of_mmdet3d_017() -> None:
    """Width, length, height, and a yaw that is -π for a car that looks where the vehicle looks."""
    box = convert_car(load_module("PETR").PETR(), [1.9, 4.5, 1.6, -np.pi])
    assert np.allclose(box.center, [10.94, -3.0, 0.84], atol=1e-6)
    assert np.allclose(box.size_wlh, [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(np.abs(box.rotation_wxyz), [1.0, 0.0, 0.0, 0.0], atol=1e-6)
    assert np.allclose(box.velocity, [2.0, -1.0], atol=1e-6)


@full
@pytest.mark.timeout(3600)
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
    assert np.ptp(ours["0/boxes_3d"][:, :2], axis=0).min() > 10, "boxes far apart, so that the comparison means much"
    assert compare_submissions(scenes, folder) > 0
    assert compare_known_boxes(scenes, folder, "PETR") > 200


@full
@pytest.mark.timeout(3600)
def test_the_variants_agree(scenes: Scenes) -> None:
    check_agreement(scenes, "PETR", scenes.data.scenes()[0].samples)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_a_run_through_admlops_is_a_run(variant: str, scenes: Scenes, admlops: Admlops) -> None:
    run_two_samples(admlops, "PETR", variant, scenes.root)


@full
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("variant", VARIANTS)
def test_checkpoints_that_do_not_fit_are_refused(
    variant: str, scenes: Scenes, admlops: Admlops, tmp_path: Path
) -> None:
    environment = find_environment("PETR", variant)
    said = run_inside(environment, "spoil_checkpoints.py", {"model": "PETR", "folder": str(tmp_path)})
    found = json.loads(said.splitlines()[-1])
    assert found.pop("whole.pth") == ""
    assert re.search(r"half\.pth does not fit the model: \d+ of \d+ tensors loaded; \d+ missing", found["half.pth"])
    # The counters of batch normalisation, which mmcv asks of no checkpoint, count as loaded.
    loaded = re.search(
        r"other\.pth does not fit the model: (\d+) of (\d+) tensors loaded; .*unexpected", found["other.pth"]
    )
    assert loaded is not None, found["other.pth"]
    assert int(loaded[1]) < 0.2 * int(loaded[2])
    assert "cut.pth cannot be read as a checkpoint" in found["cut.pth"]
    assert "text.pth cannot be read as a checkpoint" in found["text.pth"]
    options = ("--limit", "1", "--variant", variant, "--checkpoint", tmp_path / "half.pth")
    done = run_model(admlops, "PETR", scenes.root, *options, check=False)
    assert done.returncode == 2
    assert found["half.pth"].partition(" Every tensor")[0] in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Scenes:
    return make_scenes(tmp_path_factory.mktemp("petr"))
