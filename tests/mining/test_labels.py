"""From a run to annotators and back: what they get, what changed, and a new version that knows the old one."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ET
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.conftest import Admlops
from tests.evaluation.picture_runs import SIZE, finder, write_picture_run, write_pictures
from tests.mining.planned_runs import tokens_of, write_boxes, write_data

from admlops.catalog.registries import ANNOTATION_TOOLS
from admlops.core.errors import DataError, UsageError
from admlops.core.nuscenes_classes import CATEGORY_CLASSES
from admlops.datasets.base import Dataset, open_data
from admlops.datasets.nuscenes.tables import NuScenes
from admlops.mining.found import read_found
from admlops.mining.labels import Imported, import_labels, read_labels
from admlops.mining.predictions import choose_frames, open_frames, predict
from admlops.mining.tools.base import make_target
from admlops.mining.versions import read_history
from admlops.publications.manifest import digest_of, read_manifests, verify
from admlops.results.run_folder import RunFolder


@pytest.fixture
def data(tmp_path: Path) -> NuScenes:
    return write_data(tmp_path / "scenes")


def hand_over(tool: str, data: Dataset, out: Path, run: RunFolder | None = None) -> Path:
    """What annotators get of every sample: a run's boxes, or the data set's own."""
    scenes = data.scenes()
    tokens = [token for scene in scenes for token in scene.samples]
    frames = choose_frames(open_frames(data), tokens, [scene.name for scene in scenes])
    out.mkdir()
    given = frames if run is None else predict(frames, read_found(run, confidence=0.5))
    ANNOTATION_TOOLS.get(tool).write(make_target(out, mode="hardlink"), given)
    return out


def take_back(file: Path, data: Dataset, out: Path) -> Imported:
    _, labels = read_labels(file)
    recording = open_frames(data, sweeps=True)
    silent = lambda done, total: None  # noqa: E731
    return import_labels(recording, labels, out, file=file, mode="hardlink", workers=1, watch=silent)


def cuboids_of(folder: Path) -> tuple[Path, Any]:
    (path,) = folder.glob("*.json")
    return path, json.loads(path.read_text())


def test_labels_that_come_back_as_they_went_change_nothing(data: NuScenes, tmp_path: Path) -> None:
    hand_over("openlabel", data, tmp_path / "out")
    done = take_back(tmp_path / "out", data, tmp_path / "new")
    assert done.changes == []
    new = NuScenes(tmp_path / "new", "v1.0-own")
    for token in tokens_of(data):
        assert new.ground_truth(token) == data.ground_truth(token)
        assert new.sample(token)["timestamp_us"] == data.sample(token)["timestamp_us"]
    assert done.digest != done.parent


def test_each_change_is_told_and_taken(data: NuScenes, tmp_path: Path) -> None:
    """One object moved, one relabelled, one removed, one added, each in the second sample."""
    path, content = cuboids_of(hand_over("openlabel", data, tmp_path / "out"))
    label = content["openlabel"]
    frame = label["frames"]["1"]
    uids = list(frame["objects"])
    moved, relabelled, removed = uids[:3]
    frame["objects"][moved]["object_data"]["cuboid"][0]["val"][0] += 1.5
    name = label["objects"][relabelled]["type"]
    own = {**label["objects"][relabelled], "type": "vehicle.trailer"}
    label["objects"]["8c7b6a59-0000-4000-8000-000000000001"] = own
    frame["objects"]["8c7b6a59-0000-4000-8000-000000000001"] = frame["objects"].pop(relabelled)
    del frame["objects"][removed]
    lidar = data.sample(tokens_of(data)[1])["lidar"]
    box = {"name": "shape3D", "val": [0.0, 0.0, 0.0, 0, 0, 0, 1, 400.0, 400.0, 400.0], "coordinate_system": "ego"}
    label["objects"]["8c7b6a59-0000-4000-8000-000000000002"] = {"name": "new", "type": "vehicle.car"}
    frame["objects"]["8c7b6a59-0000-4000-8000-000000000002"] = {"object_data": {"cuboid": [box]}}
    path.write_text(json.dumps(content))

    done = take_back(tmp_path / "out", data, tmp_path / "new")
    assert done.counts == {"added": 1, "removed": 1, "moved": 1, "relabelled": 1}
    told = {one.what: one for one in done.changes}
    assert told["moved"].by == pytest.approx(1.5)
    assert (told["relabelled"].before, told["relabelled"].class_name) == (name, "vehicle.trailer")
    assert {one.sample for one in done.changes} == {tokens_of(data)[1]}
    new = NuScenes(tmp_path / "new", "v1.0-own")
    truth = new.ground_truth(tokens_of(data)[1])
    added = next(one for one in truth if one.size_wlh == (400.0, 400.0, 400.0))
    assert added.num_lidar_pts == len(np.fromfile(lidar["path"], "<f4")) // 5, "the points in it were counted"
    assert [new.ground_truth(token) for token in tokens_of(data)[3:]] == [
        data.ground_truth(token) for token in tokens_of(data)[3:]
    ]


def test_predictions_are_what_annotators_begin_with(data: NuScenes, tmp_path: Path) -> None:
    """In the global frame, with their confidences; a class keeps the category of the object that it meets."""
    run = write_boxes(tmp_path / "run", data, lambda index, boxes: boxes[1:] if index == 0 else boxes)
    _, content = cuboids_of(hand_over("openlabel", data, tmp_path / "out", run))
    first = content["openlabel"]["frames"]["0"]["objects"].values()
    boxes = [one["object_data"]["cuboid"][0] for one in first]
    assert all({"name": "confidence", "val": 0.9} in box["attributes"]["num"] for box in boxes)
    done = take_back(tmp_path / "out", data, tmp_path / "new")
    assert done.counts["relabelled"] == done.counts["moved"] == done.counts["added"] == 0
    unevaluated = sum(
        len(frame.cuboids or ()) for scene in open_frames(data).scenes(["scene-0000"]) for frame in scene.frames
    )
    known = sum(len(data.ground_truth(token)) for token in tokens_of(data))
    assert done.counts["removed"] == unevaluated - known + 1


@pytest.fixture
def pictures(tmp_path: Path) -> Dataset:
    return write_pictures(tmp_path / "pictures", 4)


@pytest.mark.parametrize("tool", ["cvat", "labelstudio", "openlabel"])
def test_pictures_go_out_and_come_back(pictures: Dataset, tmp_path: Path, tool: str) -> None:
    """Untouched they change nothing; tokens stay, so that runs over both compare."""
    out = hand_over(tool, pictures, tmp_path / "out")
    file = {"cvat": out / "annotations.xml", "labelstudio": out / "tasks.json", "openlabel": out}[tool]
    if tool == "labelstudio":
        accept_predictions(file)
    done = take_back(file, pictures, tmp_path / "new")
    assert done.counts == {"added": 0, "removed": 0, "moved": 0, "relabelled": 0}
    new = open_data(tmp_path / "new")
    tokens = [token for scene in pictures.scenes() for token in scene.samples]
    assert [token for scene in new.scenes() for token in scene.samples] == tokens
    for token in tokens:
        ours, theirs = (one.image_annotations(token)["IMAGE"] for one in (pictures, new))  # type: ignore[attr-defined]
        assert ours.classes == theirs.classes
        np.testing.assert_allclose(ours.boxes, theirs.boxes)


def accept_predictions(file: Path) -> None:
    """What Label Studio exports after an annotator accepted every prediction."""
    tasks = json.loads(file.read_text())
    for task in tasks:
        task["annotations"] = [{"id": 1, "completed_by": 1, "was_cancelled": False, **task.pop("predictions")[0]}]
    file.write_text(json.dumps(tasks))


def test_cvat_gets_what_a_detector_found_and_gives_what_was_corrected(pictures: Dataset, tmp_path: Path) -> None:
    run = write_picture_run(tmp_path / "run", pictures, finder(1.0, seed=3))
    out = hand_over("cvat", pictures, tmp_path / "out", run)
    root = ET.parse(out / "annotations.xml").getroot()
    images = root.findall("image")
    assert [image.get("name") for image in images] == [f"images/{index:04}.png" for index in range(4)]
    assert all((out / "images" / str(image.get("name"))).is_file() for image in images)
    assert {name.text for name in root.iterfind("meta/task/labels/label/name")} == {"sample", "car"}
    boxes = root.findall(".//box")
    assert {box.get("source") for box in boxes} == {"auto"}
    assert all(float(str(box.findtext("attribute"))) >= 0.5 for box in boxes)
    boxes[0].set("label", "truck")
    with zipfile.ZipFile(tmp_path / "job.zip", "w") as archive:
        archive.writestr("annotations.xml", ET.tostring(root))
    done = take_back(tmp_path / "job.zip", pictures, tmp_path / "new")
    assert done.counts["relabelled"] == 1
    assert done.counts["moved"] >= 1, "the detector's boxes lie a pixel aside"


def test_rectangles_are_percent_of_the_picture(pictures: Dataset, tmp_path: Path) -> None:
    out = hand_over("labelstudio", pictures, tmp_path / "out")
    tasks = json.loads((out / "tasks.json").read_text())
    token = pictures.scenes()[0].samples[1]
    (result, *_) = tasks[1]["predictions"][0]["result"]
    x1, y1, x2, y2 = pictures.image_annotations(token)["IMAGE"].boxes[0]  # type: ignore[attr-defined]
    value = result["value"]
    assert [value[key] for key in ("x", "y", "width", "height")] == pytest.approx(
        [100 * x1 / SIZE[0], 100 * y1 / SIZE[1], 100 * (x2 - x1) / SIZE[0], 100 * (y2 - y1) / SIZE[1]]
    )
    assert tasks[1]["data"]["image"] == "/data/local-files/?d=images/images/0001.png"
    assert '<Label value="car"/>' in (out / "labels.xml").read_text()


def test_versions_are_a_chain_of_manifests(pictures: Dataset, tmp_path: Path) -> None:
    file = hand_over("cvat", pictures, tmp_path / "out") / "annotations.xml"
    first = take_back(file, pictures, tmp_path / "v2")
    text = file.read_text()
    assert text.count('label="car"') > 1
    file.write_text(text.replace('label="car"', 'label="truck"', 1))
    second = take_back(file, open_data(tmp_path / "v2"), tmp_path / "v3")
    versions = read_history(tmp_path / "v3")
    assert [one.digest for one in versions] == [second.digest, first.digest, first.parent]
    assert [one.parent for one in versions] == [first.digest, first.parent, ""]
    assert versions[0].counts["relabelled"] == 1
    for root in (tmp_path / "v2", tmp_path / "v3"):
        verdict = verify(root, quick=False, workers=1, watch=lambda done, total: None)
        assert verdict.is_whole
        assert verdict.extra == []
        assert verdict.digest == digest_of(read_manifests(root).values()) == read_history(root)[0].digest
    shutil.copytree(tmp_path / "v3", tmp_path / "elsewhere")
    assert [one.digest for one in read_history(tmp_path / "elsewhere")] == [one.digest for one in versions]
    assert not (tmp_path / "pictures" / ".admlops").exists(), "nothing is written beside the old version"


def test_labels_of_something_else_are_refused_and_leave_nothing(
    pictures: Dataset, data: NuScenes, tmp_path: Path
) -> None:
    file = hand_over("cvat", pictures, tmp_path / "out") / "annotations.xml"
    file.write_text(file.read_text().replace("images/0001.png", "images/other.png"))
    with pytest.raises(DataError, match=r"no sample or picture 'images/other.png' \(1 of the labels"):
        take_back(file, pictures, tmp_path / "new")
    with pytest.raises(UsageError, match="is annotated in space, and the labels are boxes in pictures"):
        take_back(file, data, tmp_path / "new")
    (tmp_path / "broken.xml").write_text(
        "<annotations><image name='a'><box label='car' xtl='1'/></image></annotations>"
    )
    with pytest.raises(DataError, match="<box> has no ytl"):
        read_labels(tmp_path / "broken.xml")
    (tmp_path / "notes.txt").write_text("car 1 2 3 4")
    with pytest.raises(DataError, match="is no file of labels that is known"):
        read_labels(tmp_path / "notes.txt")
    assert not (tmp_path / "new").exists()
    assert not list(tmp_path.glob(".new*"))


def test_the_way_of_a_sample_on_the_command_line(data: NuScenes, tmp_path: Path, admlops: Admlops) -> None:
    """Mine, hand over, correct, take back, list; then both versions' metrics of one run stand side by side."""
    run = write_boxes(tmp_path / "runs" / "mine", data, lambda index, boxes: boxes[1:] if index == 2 else boxes)
    look = tmp_path / "look"
    mined = json.loads(
        admlops(
            "data",
            "mine",
            run.path,
            "--by",
            "flicker",
            "--confidence",
            "0.5",
            "--out",
            look,
            "--to",
            "openlabel",
            "--json",
        ).stdout
    )
    assert [one["token"] for one in mined["samples"]] == [tokens_of(data)[2]]
    assert (look / "samples.txt").read_text().splitlines()[1].startswith(tokens_of(data)[2])
    kept = admlops(
        "data",
        "convert",
        "--to",
        "nuscenes",
        "--from",
        data.root,
        "--tokens",
        look / "samples.txt",
        "--out",
        tmp_path / "part",
    )
    assert "1 scene, 1 sample" in kept.stdout
    new = tmp_path / "new"
    done = json.loads(admlops("data", "import-labels", look, "--data", data.root, "--out", new, "--json").stdout)
    assert done["counts"]["removed"] >= 1
    assert set(done["changes"]) == {tokens_of(data)[2]}
    told = admlops("data", "history", new, "--changes").stdout
    assert done["digest"][:12] in told
    assert done["parent"][:12] in told
    assert admlops("data", "verify", new).returncode == 0
    again = admlops("data", "import-labels", look, "--data", data.root, "--out", new, check=False)
    assert again.returncode == 2
    assert "is there already" in again.stderr


def test_before_and_after_compare_on_the_same_samples(data: NuScenes, tmp_path: Path, admlops: Admlops) -> None:
    """A model that misses an object, before; after, the object turns out to be none, and the model was right."""
    runs = [tmp_path / "repository" / "runs" / name for name in ("before", "after")]
    lost = data.ground_truth(tokens_of(data)[0])[0].class_name
    for path in runs:
        write_boxes(path, data, lambda index, boxes: [box for box in boxes if box.class_name != lost])
    path, content = cuboids_of(hand_over("openlabel", data, tmp_path / "out"))
    objects = content["openlabel"]["objects"].items()
    none = {uid for uid, own in objects if CATEGORY_CLASSES.get(own["type"]) == lost}
    for frame in content["openlabel"]["frames"].values():
        for uid in none:
            frame["objects"].pop(uid, None)
    path.write_text(json.dumps(content))
    admlops("data", "import-labels", tmp_path / "out", "--data", data.root, "--out", tmp_path / "new")
    admlops("evaluate", "before")
    admlops("evaluate", "after", "--data", tmp_path / "new")
    told = json.loads(admlops("results", "compare", "before", "after", "--json").stdout)
    found = next(one for one in told["metrics"] if one["metric"] == "mAP")
    assert found["n"] == len(tokens_of(data))
    assert found["difference"] is not None
    worst = [json.loads((path / "metrics.json").read_text())["worst"] for path in runs]
    assert len(worst[1]) < len(worst[0])
