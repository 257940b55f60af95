"""Boxes in images of a run, against a COCO file: pairing, numbers, and files that are not what they should be."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import Admlops
from tests.evaluation.test_evaluate import make_run

from admlops.core.errors import ComparabilityError, DataError, UsageError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_2d.coco_truth import read_coco
from admlops.evaluation.detection_2d.truth import name_pictures
from admlops.evaluation.evaluate import evaluate_run
from admlops.evaluation.statistics.paired_bootstrap import compare_evaluated, read_evaluated
from admlops.results.record import Detection2D, Metadata, Outputs, Record
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder

CAMERA, OTHER = "CAM_FRONT", "CAM_BACK"
BOXES = [[10.0, 20.0, 30.0, 40.0], [100.0, 50.0, 20.0, 20.0]]
"""x, y, width, height of the two objects in every picture; the second is a truck."""


@pytest.fixture
def tokens(synthetic_data: NuScenes) -> list[str]:
    return [token for scene in synthetic_data.scenes() for token in scene.samples]


def coco_of(data: NuScenes, tokens: list[str]) -> dict[str, Any]:
    """The front pictures of the samples, with a car and a truck each."""
    images = [
        {"id": index, "file_name": f"elsewhere/{Path(data.sample(token)['cameras'][CAMERA]['path']).name}"}
        for index, token in enumerate(tokens)
    ]
    boxes = [
        {"id": 2 * index + kind, "image_id": index, "category_id": kind + 7, "bbox": box, "iscrowd": 0}
        for index in range(len(images))
        for kind, box in enumerate(BOXES)
    ]
    return {
        "images": images,
        "categories": [{"id": 7, "name": "car"}, {"id": 8, "name": "truck"}],
        "annotations": boxes,
    }


def write(path: Path, content: object) -> Path:
    path.write_text(json.dumps(content))
    return path


def record_of(data: NuScenes, token: str, *, misses_truck: bool = False) -> Record:
    """A record that finds both objects in front, and one behind, where there is no ground truth."""
    sample = data.sample(token)
    metadata = Metadata(
        model_name="Detector",
        variant="modern",
        run="r",
        sample_token=token,
        scene=sample["scene"],
        index_in_scene=sample["index_in_scene"],
        status="ok",
    )
    found = [
        Detection2D(
            id=kind,
            camera=camera,
            class_name=("car", "truck")[kind],
            bbox_xyxy=(x, y, x + width, y + height),
            confidence=0.9,
        )
        for kind, camera in ((0, CAMERA), (1, CAMERA), (0, OTHER))
        for x, y, width, height in [BOXES[kind]]
        if not (misses_truck and kind == 1)
    ]
    return make_record(metadata, Outputs(detections_2d=found))


@pytest.fixture
def run(synthetic_data: NuScenes, tokens: list[str], tmp_path: Path) -> RunFolder:
    records = [record_of(synthetic_data, token, misses_truck=index == 0) for index, token in enumerate(tokens)]
    return make_run(tmp_path / "repository" / "runs" / "boxes", synthetic_data, records)


def test_a_run_against_a_file(
    run: RunFolder, synthetic_data: NuScenes, tokens: list[str], tmp_path: Path, admlops: Admlops
) -> None:
    file = write(tmp_path / "truth.json", coco_of(synthetic_data, tokens))
    shown = admlops("evaluate", run.path.name, "--boxes-2d", str(file), "--json")
    metrics = {(m["protocol"].partition("@")[0], m["name"]): m["value"] for m in json.loads(shown.stdout)["metrics"]}
    assert metrics["coco.bbox", "AP_car"] == pytest.approx(1.0)
    assert metrics["coco.bbox", "AP_truck"] == pytest.approx(7 / 8, abs=0.01)
    assert metrics["counting.iou0.5-confidence0.5", "count_score_car"] == 1.0
    assert metrics["counting.iou0.5-confidence0.5", "F1_car"] == 1.0
    details = json.loads(run.metrics_path.read_text())["details"]
    assert details["counting"]["car"] == {"there": 8, "found": 8, "right": 8}
    assert (details["boxes_2d"]["images"], details["boxes_2d"]["pictures"]) == (8, 48)


def test_without_a_file_the_run_is_told_what_is_missing(
    run: RunFolder, synthetic_data: NuScenes, layout: Layout, admlops: Admlops
) -> None:
    with pytest.raises(UsageError, match="detections_2d with --boxes-2d FILE"):
        evaluate_run(run, synthetic_data, layout=layout, say=print)
    assert not run.metrics_path.exists()


def test_numbers_of_different_files_are_not_compared(
    run: RunFolder, synthetic_data: NuScenes, tokens: list[str], layout: Layout, tmp_path: Path
) -> None:
    content = coco_of(synthetic_data, tokens)
    for name in ("first", "second"):
        file = write(tmp_path / f"{name}.json", content)
        evaluate_run(run, synthetic_data, layout=layout, say=print, truth_2d=file)
        (tmp_path / name).mkdir()
        for path in (run.metrics_path, run.path / "run.json"):
            (tmp_path / name / path.name).write_bytes(path.read_bytes())
        content["annotations"].pop()
    a, b = (read_evaluated(RunFolder.open(tmp_path / name)) for name in ("first", "second"))
    with pytest.raises(ComparabilityError, match="no metric in common"):
        compare_evaluated(a, b)


def _without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def drop(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return drop


def _repeat_image(content: dict[str, Any]) -> None:
    content["images"].append({**content["images"][0], "id": 99})


def _rename_all(content: dict[str, Any]) -> None:
    for image in content["images"]:
        image["file_name"] = "other.jpg"


def _lose_category(content: dict[str, Any]) -> None:
    content["categories"].pop()


def _repeat_name(content: dict[str, Any]) -> None:
    content["categories"][1]["name"] = content["categories"][0]["name"]


def _repeat_id(content: dict[str, Any]) -> None:
    content["categories"].append({**content["categories"][0], "name": "another"})


def _turn_inside_out(content: dict[str, Any]) -> None:
    content["annotations"][0]["bbox"][2] = -3.0


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (_repeat_name, "more than one category has the name"),
        (_repeat_id, "more than one category has the id 7"),
        (_turn_inside_out, "has a negative width or height"),
        (_without("categories"), "missing required field `categories`"),
        (_without("images", 0, "file_name"), r"missing required field `file_name` - at `\$.images"),
        (_repeat_image, "is there twice"),
        (_rename_all, "has nothing of the run's 48 pictures"),
        (_lose_category, "refers to category 8, which it lacks"),
    ],
)
def test_a_file_that_is_none_is_explained(
    synthetic_data: NuScenes, tokens: list[str], tmp_path: Path, spoil: Callable[[dict[str, Any]], None], said: str
) -> None:
    content = copy.deepcopy(coco_of(synthetic_data, tokens))
    spoil(content)
    file = write(tmp_path / "truth.json", content)
    with pytest.raises(DataError, match=said):
        read_coco(file, name_pictures(synthetic_data, {token: synthetic_data.sample(token) for token in tokens}))
