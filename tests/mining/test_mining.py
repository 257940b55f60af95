"""Each rule finds the sample that was planned for it, says why, and leaves the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from tests.mining.planned_runs import SAMPLES, tokens_of, write_boxes, write_data, write_flat, write_statuses

from admlops.core.errors import UsageError
from admlops.datasets.base import Dataset
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.mining.found import read_found
from admlops.mining.mine import Mined, find_rule, mine, write_mined
from admlops.mining.rules.uncertainty import entropy
from admlops.pipeline.selection import Selection, read_tokens, select
from admlops.results.record import Detection2D, Detection3D
from admlops.results.run_folder import RunFolder

Change = Callable[[int, list[Detection3D]], list[Detection3D]]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> NuScenes:
    return write_data(tmp_path_factory.mktemp("mined"))


def unchanged(index: int, boxes: list[Detection3D]) -> list[Detection3D]:
    return boxes


def only(sample: int, change: Callable[[list[Detection3D]], list[Detection3D]]) -> Change:
    return lambda index, boxes: change(boxes) if index == sample else boxes


def by(name: str, data: Dataset, *runs: RunFolder, confidence: float | None = 0.5) -> Mined:
    found = [read_found(run, confidence=confidence) for run in runs]
    return mine(find_rule(name, len(runs)), found, data, top=100)


def test_an_object_that_is_missing_between_two_samples_flickers(data: NuScenes, tmp_path: Path) -> None:
    """It moves, and so does the vehicle: where it should be is computed in the global frame."""
    run = write_boxes(tmp_path / "run", data, only(2, lambda boxes: boxes[1:]))
    (sample,) = by("flicker", data, run).samples
    assert sample.token == tokens_of(data)[2]
    (reason,) = sample.reasons
    lost = data.ground_truth(sample.token)[0]
    assert reason.class_name == lost.class_name
    place = [float(word) for word in reason.what.rpartition(" at x ")[2].removesuffix(" m").split(", y ")]
    np.testing.assert_allclose(place, lost.center[:2], atol=0.3)


def test_nothing_flickers_that_is_there_or_never_came_back(data: NuScenes, tmp_path: Path) -> None:
    assert not by("flicker", data, write_boxes(tmp_path / "whole", data, unchanged)).samples
    gone = write_boxes(tmp_path / "gone", data, lambda index, boxes: boxes[1:] if index >= 2 else boxes)
    assert not by("flicker", data, gone).samples
    faint = only(2, lambda boxes: [msgspec.structs.replace(boxes[0], confidence=0.3), *boxes[1:]])
    assert not by("flicker", data, write_boxes(tmp_path / "faint", data, faint)).samples, "half the limit is there"


def test_models_disagree_about_what_only_one_of_them_means(data: NuScenes, tmp_path: Path) -> None:
    def invent(boxes: list[Detection3D]) -> list[Detection3D]:
        box = msgspec.structs.replace(boxes[0].bbox_3d, center=(31.0, 17.0, 0.0))
        return [*boxes, msgspec.structs.replace(boxes[0], id=99, confidence=0.8, bbox_3d=box)]

    one = write_boxes(tmp_path / "one", data, only(3, invent))
    other = write_boxes(tmp_path / "other", data, only(1, lambda boxes: boxes[1:]))
    first, second = by("disagreement", data, one, other).samples
    tokens = tokens_of(data)
    assert (first.token, second.token) == (tokens[1], tokens[3])
    assert [(reason.run, reason.id) for reason in second.reasons] == [("one", 99)]
    assert second.score == pytest.approx(0.8)
    assert "at x 31.0, y 17.0 m" in second.reasons[0].what
    assert [reason.run for reason in first.reasons] == ["one"], "what the other lost, only this one has"
    turned = by("disagreement", data, other, one).samples
    assert {one.token: one.score for one in turned} == {first.token: first.score, second.token: second.score}


def test_a_class_is_part_of_an_object_and_a_faint_partner_is_one(data: NuScenes, tmp_path: Path) -> None:
    whole = write_boxes(tmp_path / "whole", data, unchanged)
    renamed = only(0, lambda boxes: [msgspec.structs.replace(boxes[0], class_name="trailer"), *boxes[1:]])
    (sample,) = by("disagreement", data, whole, write_boxes(tmp_path / "renamed", data, renamed)).samples
    assert {reason.class_name for reason in sample.reasons} == {
        "trailer",
        data.ground_truth(sample.token)[0].class_name,
    }
    faint = only(0, lambda boxes: [msgspec.structs.replace(boxes[0], confidence=0.3), *boxes[1:]])
    assert not by("disagreement", data, whole, write_boxes(tmp_path / "faint", data, faint)).samples


def test_uncertainty_adds_up_the_bits_of_confidences(data: NuScenes, tmp_path: Path) -> None:
    half = only(4, lambda boxes: [msgspec.structs.replace(box, confidence=0.5) for box in boxes])
    mined = by("uncertainty", data, write_boxes(tmp_path / "run", data, half))
    assert mined.samples[0].token == tokens_of(data)[4]
    boxes = len(data.ground_truth(tokens_of(data)[4]))
    assert mined.samples[0].score == pytest.approx(boxes)
    others = [len(data.ground_truth(one.token)) * entropy(0.9) for one in mined.samples[1:]]
    assert [one.score for one in mined.samples[1:]] == pytest.approx(others)
    assert entropy(0.9) == pytest.approx(0.4690, abs=1e-4)
    assert entropy(0.0) == pytest.approx(0.0, abs=1e-9)


def test_a_class_that_is_there_once_is_rare(data: NuScenes, tmp_path: Path) -> None:
    once = only(2, lambda boxes: [msgspec.structs.replace(boxes[0], class_name="traffic_cone"), *boxes[1:]])
    mined = by("rare", data, write_boxes(tmp_path / "run", data, once))
    assert mined.samples[0].token == tokens_of(data)[2]
    assert mined.samples[0].reasons[0].what.startswith("1 of 1: traffic_cone day dry singapore-onenorth")
    # Every cell's objects weigh 1 together, however they are spread over the samples.
    cells = {reason.what.partition(": ")[2] for one in mined.samples for reason in one.reasons}
    assert sum(one.score for one in mined.samples) == pytest.approx(len(cells))


def test_the_worst_are_those_that_the_evaluation_listed(data: NuScenes, tmp_path: Path) -> None:
    run = write_boxes(tmp_path / "run", data, unchanged)
    with pytest.raises(UsageError, match="has no list of its worst samples"):
        by("worst", data, run)
    tokens = tokens_of(data)
    worst = [{"sample_token": tokens[3], "scene": "s", "cost": 5, "misses": 3, "false_alarms": 1, "map_misses": 1}]
    run.metrics_path.write_text(json.dumps({"worst": worst, "operating_points": {"detection": {"car": 0.7}}}))
    (sample,) = by("worst", data, run).samples
    assert (sample.token, sample.score) == (tokens[3], 5)
    assert {reason.what for reason in sample.reasons} == {"boxes: 3 missed", "boxes: 1 false alarms", "map: 1 missed"}
    found = read_found(run)
    assert (found.limit("", "car"), found.limit("", "bus"), found.limit("CAM_FRONT", "car")) == (0.7, 0.3, 0.3)


def test_judgements_of_calibration_are_mined_by_every_rule(data: NuScenes, tmp_path: Path) -> None:
    tokens = tokens_of(data)
    scores = [(0.9, 0.1), (0.9, 0.1), (0.2, 0.1), (0.9, 0.1), (0.9, 0.8)]
    run = write_statuses(tmp_path / "run", data, scores)
    other = write_statuses(tmp_path / "other", data, [(0.9, 0.1)] * SAMPLES)
    worst = by("worst", data, run).samples
    assert {one.token: round(one.score, 6) for one in worst} == {tokens[2]: 0.8, tokens[4]: 0.8}
    assert "given: taken for miscalibrated" in worst[0].reasons[0].what
    assert [one.token for one in by("disagreement", data, run, other).samples] == [tokens[2], tokens[4]]
    assert [one.token for one in by("flicker", data, run).samples] == [tokens[2]]
    assert by("uncertainty", data, run).samples[0].score == pytest.approx(entropy(0.2) + entropy(0.1))
    assert {one.token for one in by("rare", data, run).samples[:2]} == {tokens[2], tokens[4]}


def pictures(folder: Path) -> Dataset:
    from tests.evaluation.picture_runs import write_pictures

    return write_pictures(folder, 3)


def test_detectors_of_pictures_are_mined_by_their_overlap(tmp_path: Path) -> None:
    data = pictures(tmp_path / "pictures")
    tokens = [token for scene in data.scenes() for token in scene.samples]

    def car(number: int, box: tuple[float, float, float, float], confidence: float = 0.9) -> Detection2D:
        return Detection2D(id=number, camera="IMAGE", class_name="car", bbox_xyxy=box, confidence=confidence)

    truth = [data.image_annotations(token)["IMAGE"].boxes.tolist() for token in tokens]  # type: ignore[attr-defined]
    right = [[car(number, tuple(box)) for number, box in enumerate(own)] for own in truth]
    wrong = [right[0], [*right[1], car(9, (1.0, 1.0, 9.0, 9.0), 0.6)], right[2][1:]]
    one, other = write_flat(tmp_path / "one", data, right), write_flat(tmp_path / "other", data, wrong)
    worst: dict[str, Any] = {sample.token: sample for sample in by("worst", data, other).samples}
    assert tokens[0] not in worst
    assert "IMAGE: false alarm car 0.60" in [reason.what for reason in worst[tokens[1]].reasons]
    assert {sample.token for sample in by("disagreement", data, one, other).samples} >= {tokens[1]}
    assert by("uncertainty", data, other).samples[0].token == tokens[1]
    with pytest.raises(UsageError, match="are single pictures, and no sequence"):
        by("flicker", data, one)


def test_objects_flicker_in_the_pictures_of_a_sequence(data: NuScenes, tmp_path: Path) -> None:
    """One that stands in a camera's picture, and is not found in the middle sample, or elsewhere in the picture."""

    def car(x: float, number: int = 0) -> Detection2D:
        box = (x, 10.0, x + 20.0, 30.0)
        return Detection2D(id=number, camera="CAM_FRONT", class_name="car", bbox_xyxy=box, confidence=0.9)

    found = [[car(40.0)], [car(44.0)], [car(90.0, 1)], [car(46.0)], [car(47.0)]]
    (sample,) = by("flicker", data, write_flat(tmp_path / "run", data, found)).samples
    assert sample.token == tokens_of(data)[2]
    assert sample.reasons[0].what == "missing between two samples: car 0.90 in CAM_FRONT"


def test_runs_of_different_tasks_do_not_disagree(data: NuScenes, tmp_path: Path) -> None:
    box = Detection2D(id=0, camera="CAM_FRONT", class_name="car", bbox_xyxy=(1.0, 1.0, 9.0, 9.0), confidence=0.9)
    flat = write_flat(tmp_path / "flat", data, [[box]] * SAMPLES)
    space = write_boxes(tmp_path / "space", data, unchanged)
    assert not by("disagreement", data, flat, space).samples
    nothing = write_flat(tmp_path / "nothing", data, [[]] * SAMPLES)
    assert len(by("disagreement", data, flat, nothing).samples) == SAMPLES


def test_the_list_is_what_a_run_and_a_conversion_take(data: NuScenes, tmp_path: Path) -> None:
    run = write_boxes(tmp_path / "run", data, only(3, lambda boxes: boxes[1:]))
    mined = by("rare", data, run)
    write_mined(mined, tmp_path / "out")
    tokens = read_tokens(tmp_path / "out" / "samples.txt")
    assert tokens == [one.token for one in mined.samples]
    (scene,) = select(data, Selection(tokens=tmp_path / "out" / "samples.txt"))
    assert sorted(scene.samples) == sorted(tokens)
    kept = json.loads((tmp_path / "out" / "mined.json").read_text())
    assert [one["token"] for one in kept["samples"]] == tokens
    assert kept["samples"][0]["reasons"][0]["what"]


def test_a_rule_says_how_many_runs_it_wants() -> None:
    with pytest.raises(UsageError, match="--by disagreement wants two runs"):
        find_rule("disagreement", 1)
    with pytest.raises(UsageError, match="--by flicker wants one run"):
        find_rule("flicker", 2)
