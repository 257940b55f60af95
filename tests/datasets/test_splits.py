"""The official splits of nuScenes, the version and split that are taken where none is named, and custom ones."""

from __future__ import annotations

import ast
import json
import shutil
from pathlib import Path

import pytest

from admlops.core.errors import DataError
from admlops.datasets.base import default_split, open_data
from admlops.datasets.nuscenes.splits import MINI_TRAIN, MINI_VAL, VAL
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment


@pytest.fixture
def root(synthetic_root: Path, tmp_path: Path) -> Path:
    """The tables of the synthetic scenes, as v1.0-mini, v1.0-trainval and v1.0-test; no pictures."""
    for version in ("v1.0-mini", "v1.0-trainval", "v1.0-test"):
        shutil.copytree(synthetic_root / "v1.0-mini", tmp_path / version, ignore=shutil.ignore_patterns("*.bin"))
    return tmp_path


def scenes_of(root: Path, version: str, split: str) -> list[str]:
    return [scene.name for scene in NuScenes(root, version).scenes_of_split(split)]


def test_the_lists_are_the_devkits(official_environment: Environment) -> None:
    (path,) = official_environment.prefix.glob("lib/python3*/site-packages/nuscenes/utils/splits.py")
    official = {}
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List) and isinstance(node.targets[0], ast.Name):
            official[node.targets[0].id] = tuple(ast.literal_eval(node.value))
    assert official["val"] == VAL
    assert (official["mini_train"], official["mini_val"]) == (MINI_TRAIN, MINI_VAL)
    train = set(official["train_detect"]) | set(official["train_track"])
    assert len(train) == 700
    assert train.isdisjoint(VAL), "v1.0-trainval is train and val, and nothing else"


def test_each_version_has_its_own_splits(root: Path) -> None:
    both = list(MINI_VAL)
    assert scenes_of(root, "v1.0-mini", "mini_val") == both
    assert scenes_of(root, "v1.0-trainval", "val") == both
    assert scenes_of(root, "v1.0-test", "test") == both
    for version, split, known in (
        ("v1.0-mini", "val", "mini_train, mini_val, all"),
        ("v1.0-trainval", "test", "mini_train, mini_val, train, val, all"),
        ("v1.0-test", "val", "test, all"),
    ):
        with pytest.raises(DataError, match=f"has no split '{split}'; it has {known}"):
            scenes_of(root, version, split)
    with pytest.raises(DataError, match="none of the scenes of split train"):
        scenes_of(root, "v1.0-trainval", "train")


def test_a_split_of_ones_own(root: Path) -> None:
    path = root / "v1.0-mini" / "splits.json"
    path.write_text(json.dumps({"mine": ["scene-0916"]}))
    assert scenes_of(root, "v1.0-mini", "mine") == ["scene-0916"]
    for damaged in ("{", "[]", '{"mine": "scene-0916"}'):
        path.write_text(damaged)
        with pytest.raises(DataError, match=r"splits\.json cannot be read"):
            scenes_of(root, "v1.0-mini", "mine")


def test_what_is_taken_where_nothing_is_named(root: Path) -> None:
    assert open_data(root).version == "v1.0-mini"
    assert default_split(root) == "mini_val"
    assert default_split(root, "v1.0-trainval") == "val"
    shutil.rmtree(root / "v1.0-mini")
    shutil.rmtree(root / "v1.0-test")
    assert open_data(root).version == "v1.0-trainval"
    assert default_split(root) == "val"
