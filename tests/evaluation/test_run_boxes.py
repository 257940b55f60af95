"""A run's records as arrays: the same boxes as in a submission, and the same complaints as the record decoder's."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from tests.evaluation.oracle_records import detection, metadata, truth_record
from tests.evaluation.test_evaluate import make_run

from admlops.core.errors import RecordError
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation import run_outputs as run_boxes
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, CLASSES, yaws
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.nuscenes_submission import make_submission
from admlops.evaluation.run_outputs import read_run_boxes
from admlops.results.record import Outputs, Record, make_record


def test_arrays_are_the_submission(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    records = [truth_record(data, token, noise=0.6) for token in tokens]
    records[1] = make_record(metadata(data, tokens[1]), Outputs(detections_3d=[]))
    bare = records[2].detections_3d
    assert isinstance(bare, list)
    blank = [msgspec.structs.replace(box, attribute="") for box in bare]
    records[2] = msgspec.structs.replace(records[2], detections_3d=blank)
    run = make_run(tmp_path / "run", data, records)
    found = read_run_boxes(run)
    truth = make_ground_truth(read_annotations(data.root, data.version, found.tokens))
    boxes = found.in_global_frame(truth)
    submission = make_submission(records, {token: data.sample(token) for token in tokens}).results
    rows = [box for token in tokens for box in submission[token]]
    assert found.tokens == tokens
    assert found.tasks == {"detections_3d", "map_elements"}
    assert [found.tokens[index] for index in boxes.sample] == [row["sample_token"] for row in rows]
    assert [CLASSES[label] for label in boxes.label] == [row["detection_name"] for row in rows]
    assert [ATTRIBUTES[index] for index in boxes.attribute] == [row["attribute_name"] for row in rows]
    assert boxes.score.tolist() == [row["detection_score"] for row in rows]
    np.testing.assert_allclose(boxes.center, [row["translation"] for row in rows], atol=1e-9)
    np.testing.assert_allclose(boxes.velocity, [row["velocity"] for row in rows], atol=1e-4)
    np.testing.assert_allclose(boxes.yaw, yaws(np.array([row["rotation"] for row in rows])), atol=1e-12)


def test_a_run_that_finds_nothing_has_no_boxes(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    records = [make_record(metadata(data, token), Outputs(detections_3d=[])) for token in tokens]
    found = read_run_boxes(make_run(tmp_path / "run", data, records))
    truth = make_ground_truth(read_annotations(data.root, data.version, found.tokens))
    assert found.tasks == {"detections_3d"}
    assert len(found.in_global_frame(truth)) == 0


def test_at_most_500_boxes_and_the_most_confident_stay(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    confidences = np.random.default_rng(3).permutation(np.linspace(0.0, 1.0, 520))
    box = data.ground_truth(tokens[0])[0]
    boxes = [detection(box, confidence=float(value), id=index) for index, value in enumerate(confidences)]
    records = [make_record(metadata(data, tokens[0]), Outputs(detections_3d=boxes))]
    found = read_run_boxes(make_run(tmp_path / "run", data, records))
    assert (len(found.score), found.dropped) == (500, 20)
    assert found.score.tolist() == [value for value in confidences if value in set(sorted(confidences)[20:])]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"class_name":"car"', b'"class_name":"tank"', "nuScenes has no class 'tank'"),
        (
            b'"attribute":"vehicle.moving"',
            b'"attribute":"vehicle.flying"',
            "nuScenes has no attribute 'vehicle.flying'",
        ),
        (b'"confidence":1.0', b'"confidence":1.5', "not a standard record"),
        (b'"schema":1', b'"schema":9', "record schema 9"),
        (b'"rotation_wxyz":[', b'"rotation_wxyz":[3', "not a unit quaternion"),
        (b'"velocity":[', b'"speed":[', "not a standard record"),
        (b'"confidence":1.0', b'"confidence":NaN', "NaN and infinity are not numbers of JSON"),
        (b"}", b"", "scene-0103.jsonl:2 is not a standard record"),
        (b'"scene":"scene-0103"', b'"scene":"scene-0916"', "jsonl:2 is a record of scene scene-0916, in the file of"),
    ],
)
def test_what_is_wrong_is_named(
    data: NuScenes, tokens: list[str], tmp_path: Path, old: bytes, new: bytes, message: str
) -> None:
    run = make_run(tmp_path / "run", data, [truth_record(data, token) for token in tokens])
    path = run.records_path / "scene-0103.jsonl"
    first, second, rest = path.read_bytes().split(b"\n", 2)
    assert old in second
    path.write_bytes(b"\n".join([first, second.replace(old, new, 1), rest]))
    with pytest.raises(RecordError, match=message):
        read_run_boxes(run)


def test_numbers_that_cannot_be_measured_are_named(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    box = detection(data.ground_truth(tokens[0])[0], id=4)
    fast = msgspec.structs.replace(box, bbox_3d=msgspec.structs.replace(box.bbox_3d, velocity=(1e200, 0.0)))
    records = [make_record(metadata(data, tokens[0]), Outputs(detections_3d=[fast]))]
    with pytest.raises(RecordError, match="detection 4: a number of bbox_3d is larger than 1,000,000"):
        read_run_boxes(make_run(tmp_path / "run", data, records))


def test_two_processes_read_what_one_reads(
    data: NuScenes, tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", data, [truth_record(data, token, noise=0.6) for token in tokens])
    alone = read_run_boxes(run)
    monkeypatch.setattr(run_boxes, "WORTH_A_PROCESS_BYTES", 1)
    together = read_run_boxes(run)
    assert together.metadata == alone.metadata
    assert together.tasks == alone.tasks
    for name in run_boxes.COLUMNS:
        np.testing.assert_array_equal(getattr(together, name), getattr(alone, name))
    path = run.records_path / "scene-0916.jsonl"  # the second process's
    path.write_bytes(path.read_bytes().replace(b'"class_name":"car"', b'"class_name":"tank"'))
    with pytest.raises(RecordError, match="nuScenes has no class 'tank'"):
        read_run_boxes(run)


def test_every_task_of_a_record_is_known_to_the_lean_reading() -> None:
    assert run_boxes._Record.__struct_fields__ == Record.__struct_fields__
    assert Outputs.__struct_fields__ == run_boxes.TASKS
