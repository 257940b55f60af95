"""Class labels of samples: their file, mining against them, corrections as a new version."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.conftest import Admlops
from tests.mining.planned_runs import SAMPLES, tokens_of, write_data, write_statuses
from tests.mining.test_labels import hand_over, take_back

from admlops.core.errors import DataError, UsageError
from admlops.datasets.class_labels import (
    format_class_labels,
    labels_path,
    parse_class_labels,
    read_class_labels,
    require_samples,
)
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.mining.found import read_found
from admlops.mining.mine import find_rule, mine
from admlops.publications.manifest import verify

TASK, CAMERA = "calibration_status", "CAM_FRONT"
HEADER = f"sample,camera,{TASK}\n"


@pytest.fixture
def data(tmp_path: Path) -> NuScenes:
    return write_data(tmp_path / "scenes")


def label(data: NuScenes, *names: str) -> dict[str, dict[str, str]]:
    """Write a data set's labels, of the first samples; returns them."""
    labels = {token: {CAMERA: name} for token, name in zip(tokens_of(data), names, strict=False)}
    path = labels_path(data.root, TASK)
    path.parent.mkdir()
    path.write_bytes(format_class_labels(TASK, labels))
    return labels


def test_what_is_written_is_read(data: NuScenes) -> None:
    assert read_class_labels(data.root, TASK) is None
    labels = label(data, "calibrated", "miscalibrated")
    assert read_class_labels(data.root, TASK) == labels


def test_a_spreadsheet_with_more_columns_and_empty_lines_is_read(tmp_path: Path) -> None:
    path = tmp_path / "sheet.csv"
    path.write_text(f"﻿camera,who,{TASK},sample\nA,me,calibrated,s1\nB,me,,s1\nB,you, miscalibrated ,s2\n")
    assert parse_class_labels(path) == (TASK, {"s1": {"A": "calibrated"}, "s2": {"B": "miscalibrated"}})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sample,camera,weather\n", "its first line must be sample,camera,TASK"),
        (HEADER + "s,A,broken\n", "labels.csv line 2: calibration_status is 'broken'"),
        (HEADER + "s,A,calibrated\n,A,calibrated\n", "labels.csv line 3: sample is empty"),
        (HEADER + "s,,calibrated\n", "labels.csv line 2: camera is empty"),
        (HEADER + "s,A,calibrated\ns,A,miscalibrated\n", "line 3: s, A is 'miscalibrated', and was 'calibrated'"),
    ],
)
def test_a_wrong_line_is_named(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "labels.csv"
    path.write_text(content)
    with pytest.raises(DataError) as caught:
        parse_class_labels(path)
    assert said in str(caught.value)


def test_labels_of_other_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"a.csv labels the sample 't', which .* \(1 of its 2 samples"):
        require_samples({"s": {}, "t": {}}, {"s"}, tmp_path / "a.csv")


def test_the_worst_are_those_that_contradict_their_labels(data: NuScenes, tmp_path: Path) -> None:
    label(data, "calibrated", "miscalibrated", "miscalibrated", "calibrated")
    run = write_statuses(tmp_path / "run", data, [(0.9, 0.1), (0.8, 0.1), (0.2, 0.1), (0.3, 0.1), (0.1, 0.1)])
    mined = mine(find_rule("worst", 1), [read_found(run)], data, top=SAMPLES)
    tokens = tokens_of(data)
    assert [one.token for one in mined.samples] == [tokens[1], tokens[3]], "the last one has no label"
    assert mined.samples[0].reasons[0].what == "CAM_FRONT, given: taken for calibrated"


def test_corrected_classes_make_a_version(data: NuScenes, admlops: Admlops, tmp_path: Path) -> None:
    labels = label(data, "miscalibrated", "calibrated", "calibrated")
    tokens = tokens_of(data)
    run = write_statuses(tmp_path / "repository" / "results" / "judged", data, [(0.9, 0.1)] * SAMPLES)
    mined = ("data", "mine", run.path, "--by", "worst", "--data", data.root, "--to", "csv")
    admlops(*mined, "--out", tmp_path / "look")
    look = tmp_path / "look" / f"{TASK}.csv"
    assert parse_class_labels(look)[1] == {tokens[0]: {CAMERA: "calibrated"}}
    admlops(*mined, "--prelabels", "truth", "--out", tmp_path / "own")
    assert parse_class_labels(tmp_path / "own" / f"{TASK}.csv")[1] == {tokens[0]: labels[tokens[0]]}

    look.write_text(look.read_text() + f"{tokens[4]},{CAMERA},miscalibrated\n{tokens[1]},{CAMERA},calibrated\n")
    asked = ("data", "import-labels", look, "--data", data.root, "--out", tmp_path / "second")
    assert "class labels as CSV, labels of 3 samples" in admlops(*asked, "--dry-run").stdout
    told = json.loads(admlops(*asked, "--json").stdout)
    assert told["counts"] == {"added": 1, "removed": 0, "moved": 0, "relabelled": 1}
    (changed,) = told["changes"][tokens[0]]
    assert (changed["before"], changed["class_name"], changed["place"]) == ("miscalibrated", "calibrated", CAMERA)
    new = NuScenes(tmp_path / "second", "v1.0-own")
    corrected = {tokens[0]: {CAMERA: "calibrated"}, tokens[4]: {CAMERA: "miscalibrated"}}
    assert read_class_labels(new.root, TASK) == {**labels, **corrected}
    assert read_class_labels(data.root, TASK) == labels
    assert new.ground_truth(tokens[0]) == data.ground_truth(tokens[0])
    assert verify(new.root, quick=False, workers=1, watch=lambda _done, _total: None).is_whole
    history = json.loads(admlops("data", "history", new.root, "--json").stdout)["versions"]
    assert [one["digest"] for one in history] == [told["digest"], told["parent"]]


@pytest.mark.parametrize(
    ("line", "said"),
    [("nobody,CAM_FRONT,calibrated", "labels the sample 'nobody'"), ("{},CAM_ROOF,calibrated", "labels 'CAM_ROOF'")],
)
def test_classes_of_what_is_not_there_leave_nothing(
    data: NuScenes, admlops: Admlops, tmp_path: Path, line: str, said: str
) -> None:
    file = tmp_path / "wrong.csv"
    file.write_text(HEADER + line.format(tokens_of(data)[0]) + "\n")
    asked = ("data", "import-labels", file, "--data", data.root, "--out", tmp_path / "out")
    done = admlops(*asked, check=False)
    assert done.returncode == 2
    assert str(file) in done.stderr
    assert said in done.stderr
    assert not (tmp_path / "out").exists()


def test_boxes_go_to_no_table_of_classes(data: NuScenes, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no class labels"):
        hand_over("csv", data, tmp_path / "out")


def test_other_labels_and_conversions_keep_the_classes(data: NuScenes, admlops: Admlops, tmp_path: Path) -> None:
    labels = label(data, "miscalibrated", "calibrated")
    hand_over("openlabel", data, tmp_path / "out")
    take_back(tmp_path / "out", data, tmp_path / "boxes")
    assert read_class_labels(tmp_path / "boxes", TASK) == labels
    token = tokens_of(data)[0]
    chosen = tmp_path / "tokens.txt"
    chosen.write_text(token + "\n")
    part = ("data", "convert", "--to", "nuscenes", "--from", data.root, "--tokens", chosen)
    admlops(*part, "--out", tmp_path / "part")
    assert read_class_labels(tmp_path / "part", TASK) == {token: labels[token]}
    lost = ("data", "convert", "--to", "openlabel", "--from", data.root, "--out", tmp_path / "lost", "--json")
    assert "class_labels" in {one["what"] for one in json.loads(admlops(*lost).stdout)["losses"]}
