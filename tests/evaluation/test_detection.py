"""Records through the submission format and the official evaluator."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.evaluation.oracle_records import detection, metadata, truth_record
from tests.evaluation.submissions import submit, table_of

from admlops.core.errors import DataError, EnvError, RecordError
from admlops.core.paths import Layout
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.environments import Environment
from admlops.evaluation.detection_3d.box_table import DEFAULT_ATTRIBUTES, choose_attribute
from admlops.evaluation.detection_3d.official import evaluate_submission, summary_values
from admlops.results.record import Detection3D, Outputs, Record
from admlops.results.record_json import make_record

PLAIN = """
import json, sys
from nuscenes import NuScenes
from nuscenes.eval.common.config import config_factory
from nuscenes.eval.detection.evaluate import DetectionEval
root, version, predictions, split, out = sys.argv[1:]
nusc = NuScenes(version=version, dataroot=root, verbose=False)
evaluation = DetectionEval(nusc, config_factory("detection_cvpr_2019"), predictions, split, out, verbose=False)
evaluation.main(plot_examples=0, render_curves=False)
"""


def evaluate(
    records: list[Record], data: NuScenes, folder: Path, environment: Environment, layout: Layout
) -> dict[str, Any]:
    samples = {record.metadata.sample_token: data.sample(record.metadata.sample_token) for record in records}
    return evaluate_submission(
        submit(records, samples),
        dataroot=data.root,
        version=data.version,
        folder=folder,
        environment=environment,
        layout=layout,
    )


def plain_devkit(data: NuScenes, split: str, folder: Path, environment: Environment) -> dict[str, Any]:
    """What `DetectionEval.main` itself says about the submission in `folder`."""
    predictions = folder / "nuscenes_detection.json"
    command = [environment.python, "-c", PLAIN, data.root, data.version, predictions, split, folder / "plain"]
    subprocess.run([str(argument) for argument in command], check=True, capture_output=True, timeout=200)
    summary: dict[str, Any] = json.loads((folder / "plain" / "metrics_summary.json").read_text())
    return summary


def assert_same_numbers(ours: object, theirs: object) -> None:
    """Digit by digit; NaN there is None here."""
    if isinstance(theirs, dict):
        assert isinstance(ours, dict)
        for key, value in theirs.items():
            if key not in ("eval_time", "meta"):
                assert_same_numbers(ours[key], value)
    elif isinstance(theirs, float) and np.isnan(theirs):
        assert ours is None
    else:
        assert ours == theirs


def test_ground_truth_scores_perfectly(
    data: NuScenes,
    tokens: list[str],
    official_environment: Environment,
    layout: Layout,
    tmp_path: Path,
) -> None:
    result = evaluate([truth_record(data, token) for token in tokens], data, tmp_path, official_environment, layout)
    summary = result["summary"]
    assert len(result["boxes"]["ground_truth"]) == 10
    for name in result["boxes"]["ground_truth"]:
        assert summary["mean_dist_aps"][name] == pytest.approx(1.0, abs=1e-12), name
        errors = summary["label_tp_errors"][name]
        assert errors["trans_err"] < 1e-9
        assert errors["scale_err"] < 1e-9
        assert errors["orient_err"] is None or errors["orient_err"] < 1e-6
        # The record's velocity has no vertical part, and the ego vehicle is tilted by about a degree.
        assert errors["vel_err"] is None or errors["vel_err"] < 5e-3
        assert errors["attr_err"] is None or errors["attr_err"] == 0
    assert summary_values(summary)["mAP"] == pytest.approx(1.0)


def test_whole_split_equals_the_plain_devkit(
    data: NuScenes,
    tokens: list[str],
    official_environment: Environment,
    layout: Layout,
    tmp_path: Path,
) -> None:
    """Noise, equal confidences, a bike rack, boxes without points and a class that was never predicted."""
    records = [truth_record(data, token, noise=0.7) for token in tokens]
    result = evaluate(records, data, tmp_path, official_environment, layout)
    summary = plain_devkit(data, "mini_val", tmp_path, official_environment)
    assert 0.05 < summary["mean_ap"] < 0.95
    assert_same_numbers(result["summary"], summary)


@pytest.mark.full
def test_one_scene_equals_the_devkits_custom_split(
    data: NuScenes, official_environment: Environment, layout: Layout, tmp_path: Path
) -> None:
    (data.root / data.version / "splits.json").write_text(json.dumps({"alone": ["scene-0916"]}))
    [scene] = data.scenes(["scene-0916"])
    records = [truth_record(data, token, noise=0.5) for token in scene.samples]
    result = evaluate(records, data, tmp_path, official_environment, layout)
    assert_same_numbers(result["summary"], plain_devkit(data, "alone", tmp_path, official_environment))


def test_no_box_at_all_scores_nothing(
    data: NuScenes, tokens: list[str], official_environment: Environment, layout: Layout, tmp_path: Path
) -> None:
    records = [make_record(metadata(data, tokens[0]), Outputs(detections_3d=[]))]
    records.append(make_record(metadata(data, tokens[1], failed=True), Outputs()))
    result = evaluate(records, data, tmp_path, official_environment, layout)
    values = summary_values(result["summary"])
    assert (values["mAP"], values["mATE"]) == (0.0, 1.0)


def test_the_evaluators_failure_is_explained(
    data: NuScenes,
    tokens: list[str],
    official_environment: Environment,
    layout: Layout,
    tmp_path: Path,
) -> None:
    submission = submit([truth_record(data, tokens[0])], {tokens[0]: data.sample(tokens[0])})
    with pytest.raises(EnvError, match="version not found"):
        evaluate_submission(
            submission,
            dataroot=data.root,
            version="v1.0-nowhere",
            folder=tmp_path,
            environment=official_environment,
            layout=layout,
        )
    assert not (tmp_path / "nuscenes_detection_result.json").exists()


def test_at_most_500_boxes_and_the_most_confident_stay(data: NuScenes, tokens: list[str]) -> None:
    truth = data.ground_truth(tokens[0])[0]
    confidences = np.random.default_rng(3).permutation(np.linspace(0.0, 1.0, 520))
    boxes = [detection(truth, confidence=float(value), id=index) for index, value in enumerate(confidences)]
    record = make_record(metadata(data, tokens[0]), Outputs(detections_3d=boxes))
    submission = submit([record], {tokens[0]: data.sample(tokens[0])})
    kept = [box["detection_score"] for box in submission[tokens[0]]]
    assert (len(kept), table_of([record]).dropped) == (500, 20)
    assert sorted(kept) == sorted(confidences)[20:]
    assert kept == [value for value in confidences if value in set(kept)]


def test_failed_samples_are_there_and_empty(data: NuScenes, tokens: list[str]) -> None:
    record = make_record(metadata(data, tokens[0], failed=True), Outputs())
    submission = submit([record], {tokens[0]: data.sample(tokens[0])})
    assert submission == {tokens[0]: []}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"class_name": "tank"}, r"detection 7: nuScenes has no class 'tank'"),
        ({"attribute": "vehicle.flying"}, r"detection 7: nuScenes has no attribute 'vehicle.flying'"),
    ],
)
def test_what_nuscenes_does_not_know_is_named(
    data: NuScenes, tokens: list[str], change: dict[str, str], said: str
) -> None:
    box = msgspec.structs.replace(detection(data.ground_truth(tokens[0])[0], id=7), **change)
    record = make_record(metadata(data, tokens[0]), Outputs(detections_3d=[box]))
    with pytest.raises(RecordError, match=said) as caught:
        submit([record], {tokens[0]: data.sample(tokens[0])})
    assert tokens[0] in caught.value.message


def test_a_sample_of_another_data_set_is_refused(data: NuScenes, tokens: list[str]) -> None:
    with pytest.raises(DataError, match="belongs to no sample"):
        submit([truth_record(data, tokens[0])], {})


def test_velocity_turns_with_the_box_and_unknown_is_zero(data: NuScenes, tokens: list[str]) -> None:
    boxes: list[Detection3D] = []
    for velocity in ((3.0, 4.0), None):
        box = detection(data.ground_truth(tokens[0])[0])
        boxes.append(
            msgspec.structs.replace(box, bbox_3d=msgspec.structs.replace(box.bbox_3d, velocity=velocity), attribute="")
        )
    record = make_record(metadata(data, tokens[0]), Outputs(detections_3d=boxes))
    first, second = submit([record], {tokens[0]: data.sample(tokens[0])})[tokens[0]]
    assert np.hypot(*first["velocity"]) == pytest.approx(5.0, rel=2e-3)
    assert second["velocity"] == [0.0, 0.0]


@pytest.mark.parametrize("name", DEFAULT_ATTRIBUTES)
def test_attributes_fit_their_class(name: str) -> None:
    still, fast = choose_attribute(name, 0.0), choose_attribute(name, 5.0)
    kind = {"pedestrian": "pedestrian", "bicycle": "cycle", "motorcycle": "cycle"}.get(name, "vehicle")
    if name in ("traffic_cone", "barrier"):
        assert (still, fast) == ("", "")
    else:
        assert still.startswith(kind)
        assert fast in ("vehicle.moving", "cycle.with_rider", "pedestrian.moving")
