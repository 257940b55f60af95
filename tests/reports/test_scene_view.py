"""What is drawn as found, missed or a false alarm, and what is left when the data set is out of reach."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from msgspec.structs import replace
from tests.evaluation.oracle_records import vectors_in_ego
from tests.reports.fabricate import FakeData, make_data, make_metadata, make_record

from admlops.datasets.nuscenes.tables import NuScenes
from admlops.reports.camera_view import draw_cameras
from admlops.reports.scene_view import SceneView, view_sample
from admlops.results.record import Box3D, Detection3D, MapElement

METADATA = make_metadata("GroundPlane")[0]
RECORD = make_record(METADATA)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


def roles(view: SceneView) -> dict[str, str]:
    return {f"{'truth' if box.is_truth else 'seen'} {box.label}": box.role for box in view.boxes}


def test_boxes_are_judged_as_the_evaluation_does(data: FakeData) -> None:
    view = view_sample(RECORD, data)
    seen = {name: role for name, role in roles(view).items() if name.startswith("seen")}
    assert seen == {"seen car 0.92": "hit", "seen car 0.71": "hit", "seen traffic_cone 0.44": "false_alarm"}
    assert sorted(box.role for box in view.boxes if box.is_truth and box.label == "car") == ["hit", "hit", "miss"]
    assert [box.role for box in view.boxes if box.label == "pedestrian"] == ["miss"]


def test_map_elements_are_judged_in_the_ego_frame(data: FakeData) -> None:
    view = view_sample(RECORD, data)
    seen = {line.label: line.role for line in view.lines if not line.is_truth}
    assert seen == {"divider 0.90": "hit", "boundary 0.80": "hit", "divider 0.50": "false_alarm"}
    truth = {(line.kind, line.role) for line in view.lines if line.is_truth}
    assert truth == {("divider", "hit"), ("boundary", "hit"), ("boundary", "miss"), ("ped_crossing", "miss")}
    middle = next(line for line in view.lines if line.is_truth and line.kind == "divider")
    assert np.allclose(middle.points[:, 1], 0, atol=1e-6)  # the road's middle is straight ahead and behind


def test_counts_are_of_both_tasks(data: FakeData) -> None:
    view = view_sample(RECORD, data)
    assert (view.count("hit"), view.count("miss"), view.count("false_alarm")) == (4, 4, 2)


def test_the_evaluations_cutoffs_decide_what_is_drawn(data: FakeData) -> None:
    view = view_sample(RECORD, data, cutoffs={"detection": {"car": 0.8, "traffic_cone": 0.9}})
    assert [box.label for box in view.boxes if not box.is_truth] == ["car 0.92"]
    assert sorted(box.role for box in view.boxes if box.is_truth and box.label == "car") == ["hit", "miss", "miss"]


def test_a_task_that_the_model_does_not_do_is_not_missed(data: FakeData) -> None:
    view = view_sample(replace(RECORD, map_elements=UNSET), data)
    assert view.lines == ()
    assert view_sample(replace(RECORD, detections_3d=UNSET), data).boxes == ()


def test_without_a_data_set_predictions_are_neither_right_nor_wrong() -> None:
    view = view_sample(RECORD, None)
    assert {box.role for box in view.boxes} | {line.role for line in view.lines} == {"unknown"}
    assert "--data" in view.notes[0]
    assert view.window.shape == (4, 2)


def test_an_unknown_sample_is_said_with_the_next_command(data: FakeData) -> None:
    view = view_sample(replace(RECORD, metadata=replace(METADATA, sample_token="unknown")), data)
    assert "no sample 'unknown'" in view.notes[0]
    assert "Next: check --data" in view.notes[0]
    assert view.sample is None


def test_a_missing_map_leaves_boxes_and_pictures(data: FakeData, tmp_path: Path) -> None:
    view = view_sample(RECORD, FakeData(tmp_path))
    assert "straight-road.json is missing" in view.notes[0]
    assert {line.role for line in view.lines} == {"unknown"}
    assert view.sample is not None
    assert view.count("miss") == 2


def test_an_unknown_type_of_map_element_is_said(data: FakeData) -> None:
    assert isinstance(RECORD.map_elements, list)
    odd = replace(RECORD.map_elements[0], type="kerb")
    view = view_sample(replace(RECORD, map_elements=[odd]), data)
    assert view.lines == ()
    assert "'kerb'" in view.notes[0]


def test_the_map_window_is_centred_on_the_lidar(data: FakeData) -> None:
    assert np.allclose(view_sample(RECORD, data).window.mean(axis=0), [0.94, 0.0])


def test_on_a_whole_data_set_the_ground_truth_itself_is_right_everywhere(synthetic_data: NuScenes) -> None:
    for scene in synthetic_data.scenes():
        token = scene.samples[1]
        sample, truth = synthetic_data.sample(token), synthetic_data.ground_truth(token)
        vectors = vectors_in_ego(synthetic_data.root / "maps", synthetic_data.location(token), sample)
        record = replace(
            RECORD,
            metadata=replace(METADATA, sample_token=token),
            detections_3d=[
                Detection3D(
                    id=i, class_name=b.class_name, confidence=0.9, bbox_3d=Box3D(b.center, b.size_wlh, b.rotation_wxyz)
                )
                for i, b in enumerate(truth)
                if b.num_lidar_pts + b.num_radar_pts > 0
            ],
            map_elements=[
                MapElement(id=i, type=v.type, points=[(x, y) for x, y in v.points.tolist()], confidence=0.9)
                for i, v in enumerate(vectors)
            ],
        )
        view = view_sample(record, synthetic_data)
        assert view.notes == ()
        assert (view.count("miss"), view.count("false_alarm")) == (0, 0)
        assert view.count("hit") > 5
        pictures = draw_cameras(view)
        assert [picture.note for picture in pictures] == [""] * 6
        assert any("wire hit" in picture.overlay for picture in pictures)
