"""Boxes of both mmdet3d conventions: a known box of each is the same object, through to the nuScenes submission."""

from __future__ import annotations

import json
import math
from typing import Any

import msgspec
import numpy as np
import pytest
from numpy.typing import NDArray
from tests.evaluation.submissions import submit

from admlops.datasets.nuscenes.tables import GroundTruthBox, NuScenes
from admlops.results.record import Metadata, Outputs
from admlops.results.record_json import make_record
from worker.mmlab.common.boxes import MMDET3D_017, MMDET3D_1, detection_records, standard_boxes
from worker.mmlab.common.geometry import rotation_matrix

Row = dict[str, Any]

QUARTER = math.sqrt(0.5)
EGO: Row = {"translation": [100.0, 200.0, 5.0], "rotation_wxyz": [QUARTER, 0.0, 0.0, QUARTER]}
MOUNTING: Row = {"translation": [0.94, 0.0, 1.84], "rotation_wxyz": [QUARTER, 0.0, 0.0, -QUARTER]}
"""nuScenes' LiDAR has x to the right and y forward: a quarter turn clockwise from the ego frame."""
SAMPLE: Row = {"ego2global": EGO, "lidar": {"sensor2ego": MOUNTING, "ego2global": EGO}}

AHEAD = {MMDET3D_017: [1.9, 4.5, 1.6, -math.pi], MMDET3D_1: [4.5, 1.9, 1.6, math.pi / 2]}
"""A car as long as 4.5 m whose front points along the LiDAR's y, which is forward."""
RIGHT = {MMDET3D_017: [1.9, 4.5, 1.6, -math.pi / 2], MMDET3D_1: [4.5, 1.9, 1.6, 0.0]}
"""The same car, its front along the LiDAR's x, which is to the right."""

both = pytest.mark.parametrize("convention", [MMDET3D_017, MMDET3D_1])


def decode(*turned: list[float]) -> Row:
    """Boxes 3 m to the right of the LiDAR, 10 m ahead, their bottom 1.8 m below, 2 m/s forward and 1 to the right."""
    rows = [[3.0, 10.0, -1.8, *shape, 1.0, 2.0] for shape in turned]
    scores = np.linspace(0.75, 0.25, len(rows), dtype=np.float32)
    return {"boxes_3d": np.array(rows, dtype=np.float32), "scores_3d": scores, "labels_3d": np.arange(len(rows))}


@both
def test_a_known_box_is_the_same_object_in_the_ego_frame(convention: str) -> None:
    decoded = decode(AHEAD[convention], RIGHT[convention])
    ahead, right = detection_records(decoded, ["car", "truck"], SAMPLE, convention)
    assert (ahead["id"], ahead["class_name"], ahead["confidence"]) == (0, "car", 0.75)
    assert (right["id"], right["class_name"], right["confidence"]) == (1, "truck", 0.25)
    for record, front in ((ahead, [1, 0, 0]), (right, [0, -1, 0])):
        box = record["bbox_3d"]
        assert np.allclose(box["center"], [10.94, -3.0, 1.84 - 1.8 + 0.8], atol=1e-6)
        assert np.allclose(box["size_wlh"], [1.9, 4.5, 1.6], atol=1e-6)
        assert np.allclose(rotation_matrix(box["rotation_wxyz"])[:, 0], front, atol=1e-6)
        assert np.allclose(box["velocity"], [2.0, -1.0], atol=1e-6)
    assert json.loads(json.dumps([ahead, right])) == [ahead, right], "plain JSON, no arrays"


@both
def test_a_known_box_goes_through_to_the_submission(convention: str) -> None:
    """The ego vehicle looks along the global y axis: ahead is +y, to the right +x."""
    outputs = {"detections_3d": detection_records(decode(AHEAD[convention]), ["car"], SAMPLE, convention)}
    metadata = Metadata(
        model_name="M", variant="modern", run="r", sample_token="t", scene="s", index_in_scene=0, status="ok"
    )
    record = make_record(metadata, msgspec.convert(outputs, Outputs))
    (box,) = submit([record], {"t": SAMPLE})["t"]
    assert np.allclose(box["translation"], [103.0, 210.94, 5.84], atol=1e-6)
    assert np.allclose(box["size"], [1.9, 4.5, 1.6], atol=1e-6)
    assert np.allclose(rotation_matrix(box["rotation"])[:, 0], [0, 1, 0], atol=1e-6)
    assert np.allclose(box["velocity"], [1.0, 2.0], atol=1e-6)
    assert (box["detection_name"], box["attribute_name"]) == ("car", "vehicle.moving")


@both
def test_annotations_come_back_from_the_form_that_the_networks_were_taught(
    synthetic_data: NuScenes, convention: str
) -> None:
    """As mmdet3d's converter of that version writes `gt_boxes`, with the box's bottom for z as its box class has it.

    The form has no room for the LiDAR's tilt of a degree, so directions come back within it.
    """
    token = synthetic_data.scenes()[0].samples[1]
    sample = synthetic_data.sample(token)
    boxes = [box for box in synthetic_data.ground_truth(token) if box.velocity is not None]
    assert len(boxes) > 5
    rows = np.array([teach(box, sample["lidar"]["sensor2ego"], convention) for box in boxes])
    for box, back in zip(boxes, standard_boxes(rows, sample, convention), strict=True):
        assert np.allclose(back["center"], box.center, atol=1e-9)
        assert np.allclose(back["size_wlh"], box.size_wlh, atol=1e-9)
        assert np.allclose(rotation_matrix(back["rotation_wxyz"]), rotation_matrix(box.rotation_wxyz), atol=0.03)
        assert np.allclose(back["velocity"], box.velocity or (), atol=0.03)


def test_a_velocity_is_the_same_over_ground_however_vehicle_and_lidar_are_tilted() -> None:
    """mmdet3d turns the vector (vx, vy, 0) from the LiDAR to the ego to the global frame, and submits x and y."""
    ego = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [0.8, 0.03, -0.02, 0.6]}
    mounting = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [QUARTER, 0.01, 0.02, -QUARTER]}
    sample = {"ego2global": ego, "lidar": {"sensor2ego": mounting, "ego2global": ego}}
    rows = np.array([[5.0, 1.0, 0.0, 4.0, 2.0, 1.5, 0.3, 12.0, -7.0]])
    to_global, to_ego = rotation_matrix(ego["rotation_wxyz"]), rotation_matrix(mounting["rotation_wxyz"])
    expected = to_global @ to_ego @ [12.0, -7.0, 0.0]
    (box,) = standard_boxes(rows, sample, MMDET3D_1)
    assert np.allclose((to_global @ [*box["velocity"], 0.0])[:2], expected[:2], atol=1e-12)
    assert np.allclose(box["velocity"], (to_ego @ [12.0, -7.0, 0.0])[:2], atol=0.05)


def test_a_tilted_mounting_tilts_the_box() -> None:
    tilt = 0.1
    mounting = {"translation": [0.0, 0.0, 0.0], "rotation_wxyz": [math.cos(tilt / 2), 0.0, -math.sin(tilt / 2), 0.0]}
    sample = {"lidar": {"sensor2ego": mounting}, "ego2global": EGO}
    (box,) = standard_boxes(np.array([[10.0, 0.0, -1.0, 4.0, 2.0, 2.0, 0.5, 3.0, 0.0]]), sample, MMDET3D_1)
    matrix = rotation_matrix(mounting["rotation_wxyz"])
    assert np.allclose(box["center"], [10 * math.cos(tilt), 0.0, 10 * math.sin(tilt)], atol=1e-12)
    axes = rotation_matrix(box["rotation_wxyz"])
    assert np.allclose(axes[:, 0], matrix @ [math.cos(0.5), math.sin(0.5), 0.0], atol=1e-12)
    assert np.allclose(axes[:, 2], matrix @ [0.0, 0.0, 1.0], atol=1e-12)
    assert np.allclose(box["velocity"], [3 * math.cos(tilt), 0.0], atol=1e-12)


@both
def test_nothing_found_is_an_empty_list(convention: str) -> None:
    nothing = {"boxes_3d": np.zeros((0, 9)), "scores_3d": np.zeros(0), "labels_3d": np.zeros(0, dtype=int)}
    assert detection_records(nothing, ["car"], SAMPLE, convention) == []


def test_what_cannot_be_a_box_is_refused() -> None:
    good = np.array([[0.0, 0.0, 0.0, 2.0, 4.0, 1.5, 0.0, 0.0, 0.0]] * 3)
    with pytest.raises(ValueError, match=r"'mmdet3d_0\.18' is no box convention: mmdet3d_0\.17 or mmdet3d_1\.0"):
        standard_boxes(good, SAMPLE, "mmdet3d_0.18")
    with pytest.raises(ValueError, match=r"\(3, 7\), not \(n, 9\)"):
        standard_boxes(good[:, :7], SAMPLE, MMDET3D_1)
    good[1, 4] = np.inf
    with pytest.raises(ValueError, match="box 1 is not finite"):
        standard_boxes(good, SAMPLE, MMDET3D_1)


def teach(box: GroundTruthBox, mounting: Row, convention: str) -> NDArray[np.float64]:
    """mmdet3d's tools/data_converter/nuscenes_converter.py: 0.17 [locs, wlh, -yaw - pi/2], 1.0 [locs, lwh, yaw]."""
    inverse = rotation_matrix(mounting["rotation_wxyz"]).T
    center = inverse @ (np.array(box.center) - mounting["translation"])
    front = inverse @ rotation_matrix(box.rotation_wxyz)[:, 0]
    velocity = inverse @ (*(box.velocity or ()), 0.0)
    (width, length, height), yaw = box.size_wlh, math.atan2(front[1], front[0])
    shape = [width, length, height, -yaw - math.pi / 2] if convention == MMDET3D_017 else [length, width, height, yaw]
    return np.array([*center[:2], center[2] - height / 2, *shape, *velocity[:2]])
