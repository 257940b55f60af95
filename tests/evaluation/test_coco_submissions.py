"""COCO results files beside pycocotools, which reads the very same files."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tests.evaluation.taken_files import measure, take, values_of

from admlops.core.errors import UsageError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.pipeline.export_submission import export_submission

NAMES = ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl")
Row = dict[str, Any]


def make_files(data: NuScenes, seed: int) -> tuple[dict[str, Any], list[Row]]:
    """Ground truth of the pictures of mini_val, ids in no order, areas of their own; and what somebody found."""
    rng = np.random.default_rng(seed)
    samples = [data.sample(token) for scene in data.scenes_of_split("mini_val") for token in scene.samples]
    pictures = [Path(camera["path"]).name for sample in samples for camera in sample["cameras"].values()]
    ids = rng.permutation(len(pictures)).tolist()
    annotations: list[Row] = []
    found: list[Row] = []
    for image in ids:
        for _ in range(int(rng.poisson(4))):
            box = np.concatenate([rng.uniform(0, 300, 2), rng.uniform(8, 120, 2)]).round(1)
            kind = int(rng.integers(1, 4))
            crowd = int(rng.random() < 0.1)
            area = float(box[2] * box[3] * rng.uniform(0.3, 1))
            known = {"image_id": image, "category_id": kind, "bbox": box.tolist(), "iscrowd": crowd, "area": area}
            annotations.append({"id": len(annotations) + 1, **known})
            for _ in range(int(rng.integers(0, 3))):
                moved = box + rng.normal(0, 5, 4)
                moved[2:] = np.maximum(moved[2:], 1)
                found.append({"image_id": image, "category_id": kind, "bbox": moved.round(2).tolist()})
    for row in found:
        row["score"] = round(float(rng.random()), 2)
    truth = {
        "images": [{"id": number, "file_name": f"a/{name}"} for number, name in zip(ids, pictures, strict=True)],
        "categories": [{"id": 3, "name": "bus"}, {"id": 1, "name": "car"}, {"id": 2, "name": "truck"}],
        "annotations": annotations,
    }
    return truth, [found[index] for index in rng.permutation(len(found))]


def ask_pycocotools(truth: Path, results: Path) -> dict[str, float | None]:
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(str(truth))
        evaluation = COCOeval(known, known.loadRes(str(results)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return {name: None if value < 0 else float(value) for name, value in zip(NAMES, evaluation.stats, strict=True)}


FILES: dict[str, Callable[[list[Row]], list[Row]]] = {
    "plain": lambda rows: rows,
    "integers": lambda rows: [
        {**row, "score": int(10 * row["score"]), "bbox": [int(x) for x in row["bbox"]]} for row in rows
    ],
    "logits": lambda rows: [{**row, "score": 10 * row["score"] - 5} for row in rows],
    "one score": lambda rows: [{**row, "score": 0.5} for row in rows],
    "other categories": lambda rows: [
        {**row, "category_id": 9} if index % 3 else row for index, row in enumerate(rows)
    ],
    "few": lambda rows: rows[:3],
}


@pytest.mark.parametrize("name", FILES)
def test_pycocotools_says_the_same_of_both_files(
    name: str, synthetic_data: NuScenes, layout: Layout, tmp_path: Path
) -> None:
    truth, rows = make_files(synthetic_data, seed=len(name))
    truth_file, file = tmp_path / "truth.json", tmp_path / "results.json"
    truth_file.write_text(json.dumps(truth))
    file.write_text(json.dumps(FILES[name](rows)))
    theirs = ask_pycocotools(truth_file, file)
    run = take(layout, file, synthetic_data, truth_2d=truth_file)
    ours = values_of(measure(layout, run, synthetic_data, truth_2d=truth_file), "coco.bbox")
    assert {key: ours[key] for key in theirs} == pytest.approx(theirs, abs=1e-9)
    assert any(theirs.values())


def test_there_and_back(synthetic_data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    truth, rows = make_files(synthetic_data, seed=1)
    truth_file, file, out = tmp_path / "truth.json", tmp_path / "results.json", tmp_path / "out.json"
    truth_file.write_text(json.dumps(truth))
    file.write_text(json.dumps(rows))
    run = take(layout, file, synthetic_data, truth_2d=truth_file)
    export_submission(run, "coco", out, truth_2d=truth_file)
    assert ask_pycocotools(truth_file, out) == pytest.approx(ask_pycocotools(truth_file, file), abs=1e-9)
    assert len(json.loads(out.read_text())) == len(rows)
    with pytest.raises(UsageError, match="needs the ids of images"):
        export_submission(run, "coco", out)


def test_what_is_wrong_is_named(synthetic_data: NuScenes, layout: Layout, tmp_path: Path) -> None:
    truth, rows = make_files(synthetic_data, seed=1)
    truth_file, file = tmp_path / "truth.json", tmp_path / "results.json"
    truth_file.write_text(json.dumps(truth))
    file.write_text(json.dumps(rows))
    with pytest.raises(UsageError, match="numbers of the ground truth's file, which is not given"):
        take(layout, file, synthetic_data)
    for change, said in (
        ({"image_id": 10**6}, "entry 0: image_id 1000000 is not in"),
        ({"bbox": [1, 2, -3, 4]}, "entry 0, image .*: bbox .* a side is negative"),
        ({"score": float("nan")}, "Expected `float`"),
    ):
        file.write_text(json.dumps([{**rows[0], **change}, *rows[1:]]))
        with pytest.raises(UsageError, match=said):
            take(layout, file, synthetic_data, truth_2d=truth_file)
