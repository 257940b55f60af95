"""Boxes in images against the ground truth that a data set of pictures has itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.datasets.images.fabricate import draw_all, write, write_coco, write_kitti
from tests.evaluation.taken_files import measure, take, values_of
from tests.evaluation.test_coco_submissions import ask_pycocotools

from admlops.core.errors import DataError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.base import Dataset, open_data
from admlops.evaluation.context import Context
from admlops.evaluation.detection_2d.class_names import translate
from admlops.evaluation.detection_2d.truth import read_truth
from admlops.pipeline.export_submission import export_submission
from admlops.results.record import Metadata
from admlops.results.run_folder import RunFolder

PICTURES = 24
Row = dict[str, Any]


def generate(root: Path, seed: int) -> tuple[Path, Path]:
    """Pictures with random objects, some of them crowds, and random results near some of them; truth and results."""
    random = np.random.default_rng(seed)
    names = [f"scene{number % 3}/{number:02d}.png" for number in range(PICTURES)]
    draw_all(root, names)
    truth: dict[str, list[Any]] = {name: [] for name in names}
    results: list[Row] = []
    for number, boxes in enumerate(truth.values(), 1):
        for _ in range(int(random.integers(0, 5))):
            x, y = random.uniform(0, 40, 2).round(2)
            w, h = random.uniform(3, 20, 2).round(2)
            kind = ("car", "truck")[int(random.integers(2))]
            boxes.append((kind, x, y, x + w, y + h))
            shift = random.normal(0, 1.5, 4).round(2)
            results.append(
                {
                    "image_id": number,
                    "category_id": 3 if kind == "car" else 8,
                    "bbox": [float(v) for v in np.maximum(np.array([x, y, w, h]) + shift, 0.5)],
                    "score": float(random.random()),
                }
            )
    file = write_coco(root / "instances.json", truth)
    content = json.loads(file.read_text())
    for one in content["annotations"][::7]:
        one["iscrowd"] = 1
    return write(file, content), write(root.parent / "results.json", results)


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_the_data_sets_own_boxes_are_as_good_as_a_file(layout: Layout, tmp_path: Path, seed: int) -> None:
    file, results = generate(tmp_path / "data", seed)
    data = open_data(tmp_path / "data")
    run = take(layout, results, data)
    own = measure(layout, run, data)
    named = measure(layout, run, data, truth_2d=file)
    for protocol in ("coco.bbox", "counting"):
        assert values_of(own, protocol) == pytest.approx(values_of(named, protocol), abs=1e-12)
    theirs = ask_pycocotools(file, results)
    ours = values_of(own, "coco.bbox")
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)
    assert own["notes"] == []
    assert {one["protocol"] for one in own["metrics"]} == {one["protocol"] for one in named["metrics"]}
    out = tmp_path / "out.json"
    export_submission(run, "coco", out)
    assert ask_pycocotools(file, out) == pytest.approx(theirs, abs=1e-9)


def context_of(data: Dataset) -> Context:
    names = [(scene.name, token) for scene in data.scenes() for token in scene.samples]
    entries = [
        Metadata(model_name="m", variant="v", run="r", sample_token=token, scene=scene, index_in_scene=0, status="ok")
        for scene, token in names
    ]
    run: Any = None  # reading the truth asks nothing of it
    return Context(run=run, data=data, cache=Path(), metadata=entries)


def test_what_is_ignored_for_every_class_is_a_crowd_of_each(tmp_path: Path) -> None:
    write_kitti(tmp_path, {"a.png": [("car", 1.0, 2.0, 9.0, 8.0)], "b.png": []})
    label = tmp_path / "training" / "label_2" / "a.txt"
    write(label, label.read_text() + "\nDontCare -1 -1 -10 20 20 40 40 -1 -1 -1 -1000 -1000 -1000 -10")
    (tmp_path / "training" / "label_2" / "b.txt").unlink()
    data = open_data(tmp_path)
    truth = read_truth(context_of(data))
    assert (len(truth.images), truth.cameras) == (1, 2)
    (image,) = truth.images.values()
    assert image.classes == ("car", *truth.classes)
    assert image.crowd is not None
    assert image.crowd.tolist() == [False] + [True] * len(truth.classes)
    assert image.boxes.tolist() == [[1.0, 2.0, 9.0, 8.0]] + [[20.0, 20.0, 40.0, 40.0]] * len(truth.classes)


def test_a_person_is_a_pedestrian_and_a_boat_is_neither(layout: Layout, tmp_path: Path) -> None:
    assert translate(["person", "car", "boat"], ["pedestrian", "car"]) == {"person": "pedestrian", "car": "car"}
    assert translate(["person"], ["person", "pedestrian"]) == {"person": "person"}
    file, results = generate(tmp_path / "data", 1)
    renamed = file.read_text().replace('"name": "truck"', '"name": "Pedestrian"')
    write(file, renamed)
    named = write(tmp_path / "named.json", renamed.replace('"Pedestrian"', '"person"'))
    data = open_data(tmp_path / "data")
    run = take(layout, results, data, truth_2d=named)  # the results speak of persons
    metrics = measure(layout, run, data)
    assert "person counts as pedestrian" in metrics["notes"]
    theirs = ask_pycocotools(file, results)
    ours = values_of(metrics, "coco.bbox")
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)


def test_truth_is_read_once(tmp_path: Path) -> None:
    generate(tmp_path / "data", 1)
    context = context_of(open_data(tmp_path / "data"))
    assert read_truth(context) is read_truth(context)


def test_pictures_without_labels_are_told_what_is_missing(layout: Layout, tmp_path: Path) -> None:
    file, results = generate(tmp_path / "data", 1)
    named = file.rename(tmp_path / "truth.json")
    data = open_data(tmp_path / "data")
    with pytest.raises(UsageError, match="which is not given"):
        take(layout, results, data)
    run = take(layout, results, data, truth_2d=named)
    with pytest.raises(UsageError, match="detections_2d with --boxes-2d FILE"):
        measure(layout, run, data)
    assert values_of(measure(layout, run, data, truth_2d=named), "coco.bbox")["AP"] is not None
    with pytest.raises(DataError, match="has no boxes in pictures"):
        read_truth(context_of(data))


def test_equal_names_in_a_file_are_told_apart_by_folders(layout: Layout, tmp_path: Path) -> None:
    """Two pictures are called 00.png; a file that names only that is refused."""
    draw_all(tmp_path / "data", ["one/00.png", "other/00.png"])
    data = open_data(tmp_path / "data")
    boxes: Mapping[str, Any] = {"one/00.png": [("car", 1.0, 1.0, 5.0, 5.0)], "x/other/00.png": []}
    named = write_coco(tmp_path / "truth.json", boxes)
    context = context_of(data)
    context.truth_2d = named
    truth = read_truth(context)
    names = {data.picture_name(*image): len(one.boxes) for image, one in truth.images.items()}  # type: ignore[attr-defined]
    assert names == {"one/00.png": 1, "other/00.png": 0}
    context = context_of(data)
    context.truth_2d = write_coco(tmp_path / "bare.json", {"00.png": []})
    with pytest.raises(DataError, match=r"2 of the pictures are called 00\.png; name their folders"):
        read_truth(context)


def test_runs_of_the_same_pictures_elsewhere_compare(layout: Layout, tmp_path: Path) -> None:
    """The protocol ends in the digest of the labels, which is the same wherever they lie."""
    file, results = generate(tmp_path / "a" / "data", 1)
    first = measure(layout, take(layout, results, open_data(file.parent)), open_data(file.parent))
    moved = file.parent.rename(tmp_path / "b")
    run = take(layout, results, open_data(moved), name="second")
    second = measure(layout, run, open_data(moved))
    assert isinstance(run, RunFolder)
    assert [one["protocol"] for one in first["metrics"]] == [one["protocol"] for one in second["metrics"]]
    assert first["data"]["samples_sha256"] == second["data"]["samples_sha256"]
