"""From a data set with wrong and missing labels to a better network, by commands alone."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops

from admlops.catalog import load_model
from admlops.core.paths import find_layout
from admlops.datasets.base import open_data
from admlops.datasets.class_labels import format_class_labels, labels_path, parse_class_labels
from admlops.environments import find_model
from admlops.pipeline.selection import Selection, select

MODEL, TASK = "CalibrationStatus", "calibration_status"
RIGHT, WRONG = "calibrated", "miscalibrated"
SCENES = ("--scenes", "8", "--samples", "8", "--scale", "0.2", "--lidar-sweeps", "0", "--camera-sweeps", "0")
SETTING = ("--config", "resnet18-quarter", "--iterations", "120", "--devices", "cpu")
LABELLED, MISLABELLED = 8, 12
"""Of 48 training samples; the others have no label."""
GAIN = 0.1
LONG_S = 1700


def list_samples(root: Path, split: str) -> list[str]:
    return [token for scene in select(open_data(root, None), Selection(split=split)) for token in scene.samples]


class Loop:
    """The commands of the loop, and what they say."""

    def __init__(self, admlops: Admlops) -> None:
        self.admlops = admlops

    def ask(self, *arguments: str | Path) -> Any:
        return json.loads(self.admlops(*arguments, "--json", timeout_s=LONG_S).stdout)

    def train(self, data: Path, name: str) -> None:
        self.ask("train", MODEL, "--data", data, "--name", name, *SETTING)

    def run(self, data: Path, checkpoint: str, split: str) -> str:
        name = f"{checkpoint}-{split}"
        asked = ("--checkpoint", checkpoint, "--split", split, "--device", "cpu", "--run", name)
        self.ask("run", MODEL, "--data", data, *asked)
        return name

    def accuracy(self, data: Path, checkpoint: str) -> float:
        """Of the held-out scenes, as `admlops evaluate` says."""
        told = self.ask("evaluate", self.run(data, checkpoint, "mini_val"))
        (found,) = [one["value"] for one in told["metrics"] if one["name"] == "accuracy"]
        return float(found)


def spoil(root: Path) -> tuple[set[str], set[str]]:
    """Label a data set whose calibrations are all right, some samples wrongly and some not; returns these two."""
    training = list_samples(root, "mini_train")
    order = random.Random(0).sample(training, len(training))
    wrong, missing = set(order[LABELLED : LABELLED + MISLABELLED]), set(order[LABELLED + MISLABELLED :])
    cameras = list(open_data(root, None).sample(training[0])["cameras"])
    names = {token: WRONG if token in wrong else RIGHT for token in training if token not in missing}
    path = labels_path(root, TASK)
    path.parent.mkdir()
    path.write_bytes(format_class_labels(TASK, {token: dict.fromkeys(cameras, name) for token, name in names.items()}))
    return wrong, missing


@pytest.mark.full
@pytest.mark.timeout(2 * LONG_S)
def test_correcting_what_was_mined_makes_the_network_better(admlops: Admlops, tmp_path: Path) -> None:
    if find_model(find_layout(), load_model(find_layout(), MODEL), "modern") is None:
        pytest.skip(f"{MODEL} is not built: admlops env install {MODEL}")
    loop, first, second = Loop(admlops), tmp_path / "first", tmp_path / "second"
    admlops("data", "synthesize", first, *SCENES, timeout_s=LONG_S)
    wrong, missing = spoil(first)
    loop.ask("data", "stats", first)
    loop.train(first, "before")
    before = loop.accuracy(first, "before")

    looked, top = loop.run(first, "before", "mini_train"), str(len(wrong | missing))
    mining = ("data", "mine", looked, "--by", "uncertainty", "--top", top, "--to", "csv", "--out", tmp_path / "look")
    chosen = {one["token"] for one in loop.ask(*mining)["samples"]}
    file = tmp_path / "look" / f"{TASK}.csv"
    _, handed_over = parse_class_labels(file)
    assert set(handed_over) == chosen
    truth = {token: dict.fromkeys(cameras, RIGHT) for token, cameras in handed_over.items()}
    file.write_bytes(format_class_labels(TASK, truth))
    told = loop.ask("data", "import-labels", file, "--data", first, "--out", second)
    kinds = {token: {one["what"] for one in changes} for token, changes in told["changes"].items()}
    assert kinds == {token: {"relabelled" if token in wrong else "added"} for token in chosen & (wrong | missing)}
    versions = loop.ask("data", "history", second)["versions"]
    assert [one["digest"] for one in versions] == [told["digest"], told["parent"]]

    loop.train(second, "after")
    after = loop.accuracy(second, "after")
    print(f"before {before:.3f}, after {after:.3f}; of {len(chosen)} mined samples")
    print(f"{len(chosen & wrong)} of {len(wrong)} wrong ones, {len(chosen & missing)} of {len(missing)} without labels")
    assert after > before + GAIN
