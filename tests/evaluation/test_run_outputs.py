"""A run's records as arrays: the same boxes as in a submission, and the same complaints as the record decoder's."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import msgspec
import numpy as np
import pytest
from tests.evaluation.oracle_records import detection, metadata, truth_record
from tests.evaluation.test_evaluate import make_run

from admlops.core.errors import RecordError
from admlops.core.nuscenes_classes import CLASSES
from admlops.datasets.nuscenes.annotations import read_annotations
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation import run_outputs
from admlops.evaluation.context import Context
from admlops.evaluation.detection_3d.box_table import BoxTable
from admlops.evaluation.detection_3d.boxes import ATTRIBUTES, yaws
from admlops.evaluation.detection_3d.declarations import DETECTION
from admlops.evaluation.detection_3d.ground_truth import make_ground_truth
from admlops.evaluation.detection_3d.nuscenes_submission import make_submission
from admlops.evaluation.run_outputs import RunOutputs, read_outputs
from admlops.evaluation.vector_map.declarations import MAP
from admlops.results.record import Outputs
from admlops.results.record_json import make_record
from admlops.results.run_folder import RunFolder


def read(run: RunFolder, data: NuScenes) -> tuple[Context, RunOutputs, BoxTable]:
    context = Context(run=run, data=data, cache=run.path.parent / "cache")
    outputs = read_outputs(context, [DETECTION, MAP])
    return context, outputs, cast("BoxTable", outputs.accumulators["detection"])


def test_arrays_are_the_submission(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    records = [truth_record(data, token, noise=0.6) for token in tokens]
    records[1] = make_record(metadata(data, tokens[1]), Outputs(detections_3d=[], map_elements=[]))
    bare = records[2].detections_3d
    assert isinstance(bare, list)
    blank = [msgspec.structs.replace(box, attribute="") for box in bare]
    records[2] = msgspec.structs.replace(records[2], detections_3d=blank)
    run = make_run(tmp_path / "run", data, records)
    context, outputs, found = read(run, data)
    truth = make_ground_truth(read_annotations(data.root, data.version, context.tokens))
    boxes = found.in_global_frame(truth)
    submission = make_submission(found, context.metadata, {token: data.sample(token) for token in tokens})
    rows = [box for token in tokens for box in submission[token]]
    assert context.tokens == tokens
    assert outputs.tasks == {"detections_3d", "map_elements"}
    assert [context.tokens[index] for index in boxes.sample] == [row["sample_token"] for row in rows]
    assert [CLASSES[label] for label in boxes.label] == [row["detection_name"] for row in rows]
    assert [ATTRIBUTES[index] for index in boxes.attribute] == [row["attribute_name"] for row in rows]
    assert boxes.score.tolist() == [row["detection_score"] for row in rows]
    np.testing.assert_allclose(boxes.center, [row["translation"] for row in rows], atol=1e-9)
    np.testing.assert_allclose(boxes.velocity, [row["velocity"] for row in rows], atol=1e-4)
    np.testing.assert_allclose(boxes.yaw, yaws(np.array([row["rotation"] for row in rows])), atol=1e-12)


def test_a_run_that_finds_nothing_has_no_boxes(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    records = [make_record(metadata(data, token), Outputs(detections_3d=[])) for token in tokens]
    context, outputs, found = read(make_run(tmp_path / "run", data, records), data)
    truth = make_ground_truth(read_annotations(data.root, data.version, context.tokens))
    assert outputs.tasks == {"detections_3d"}
    assert len(found.in_global_frame(truth)) == 0


def test_at_most_500_boxes_and_the_most_confident_stay(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    confidences = np.random.default_rng(3).permutation(np.linspace(0.0, 1.0, 520))
    box = data.ground_truth(tokens[0])[0]
    boxes = [detection(box, confidence=float(value), id=index) for index, value in enumerate(confidences)]
    records = [make_record(metadata(data, tokens[0]), Outputs(detections_3d=boxes))]
    _, _, found = read(make_run(tmp_path / "run", data, records), data)
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
        (b'"confidence":1.0', b'"confidence":1.5', "confidence 1.5 is not 0 to 1"),
        (b'"schema":1', b'"schema":9', "record schema 9"),
        (b'"rotation_wxyz":[', b'"rotation_wxyz":[3', "not a unit quaternion"),
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
        read(run, data)


def test_numbers_that_cannot_be_measured_are_named(data: NuScenes, tokens: list[str], tmp_path: Path) -> None:
    box = detection(data.ground_truth(tokens[0])[0], id=4)
    fast = msgspec.structs.replace(box, bbox_3d=msgspec.structs.replace(box.bbox_3d, velocity=(1e200, 0.0)))
    records = [make_record(metadata(data, tokens[0]), Outputs(detections_3d=[fast]))]
    with pytest.raises(RecordError, match="detection 4: a number of bbox_3d is larger than 1,000,000"):
        read(make_run(tmp_path / "run", data, records), data)


def test_two_processes_read_what_one_reads(
    data: NuScenes, tokens: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "run", data, [truth_record(data, token, noise=0.6) for token in tokens])
    before, alone, boxes = read(run, data)
    monkeypatch.setattr(run_outputs, "WORTH_A_PROCESS_BYTES", 1)
    after, together, same = read(run, data)
    assert after.metadata == before.metadata
    assert together.tasks == alone.tasks
    for name, column in boxes.to_arrays().items():
        np.testing.assert_array_equal(same.to_arrays()[name], column)
    path = run.records_path / "scene-0916.jsonl"  # the second process's
    path.write_bytes(path.read_bytes().replace(b'"class_name":"car"', b'"class_name":"tank"'))
    with pytest.raises(RecordError, match="nuScenes has no class 'tank'"):
        read(run, data)
