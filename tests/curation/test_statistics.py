"""Statistics by SQL equal those of plain Python, on tables with every difficulty and on synthetic scenes."""

from __future__ import annotations

import json
import statistics
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tests import fabricated_nuscenes as fabricated
from tests.curation.plain_reference import Reference

from admlops.core.errors import DataError
from admlops.curation.map_statistics import measure_line
from admlops.curation.sample_tables import SampleTables
from admlops.curation.statistics import AXES, SetStatistics, count_cells, measure_tables
from admlops.datasets.nuscenes.tables import NuScenes


def quiet(done: int, total: int) -> None:
    """Watch nothing."""


def measure(root: Path, **options: object) -> SetStatistics:
    return measure_tables(SampleTables(NuScenes(root, "v1.0-mini")), map_samples=50, watch=quiet, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=["fabricated", "synthetic"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    if request.param == "synthetic":
        found: Path = request.getfixturevalue("synthetic_root")
        return found
    folder = fabricated.write_tables(tmp_path_factory.mktemp("tables"), seed=3)
    fabricated.write_map(folder)
    return folder


@pytest.fixture(scope="module")
def found(root: Path) -> SetStatistics:
    return measure(root)


@pytest.fixture(scope="module")
def reference(root: Path) -> Reference:
    return Reference(root / "v1.0-mini")


def test_what_there_is(found: SetStatistics, reference: Reference) -> None:
    assert (found.scenes, found.samples) == (len(reference.scenes), len(reference.samples))
    assert (found.boxes, found.objects) == (len(reference.annotations), len(reference.category))
    cells = Counter[tuple[str, ...]]()
    for cell in found.cells:
        cells[cell.values[:3]] += cell.boxes
    assert cells == reference.cells()


def test_classes_and_tracks(found: SetStatistics, reference: Reference) -> None:
    tracks = reference.tracks()
    assert set(found.classes) == set(tracks)
    for name, row in found.classes.items():
        own = [one for one in reference.annotations.values() if reference.class_of(one) == name]
        speeds = [speed for one in own if (speed := reference.speed(one)) is not None]
        assert (row.boxes, row.objects) == (len(own), len(tracks[name]))
        assert row.empty == sum(one["num_lidar_pts"] + one["num_radar_pts"] == 0 for one in own)
        assert row.moving == sum(speed > 0.5 for speed in speeds)
        assert row.median_distance_m == pytest.approx(statistics.median(map(reference.distance, own)), rel=1e-6)
        assert row.track_samples == statistics.median(n for _, n, _, _ in tracks[name])
        assert row.track_s == pytest.approx(statistics.median(seconds for _, _, seconds, _ in tracks[name]), abs=1e-9)
        assert row.track_m_p95 == pytest.approx(np.quantile([m for *_, m in tracks[name]], 0.95), rel=1e-5, abs=1e-6)
        if speeds:
            assert row.speed_p95 == pytest.approx(np.quantile(speeds, 0.95), rel=1e-5, abs=1e-6)


def test_driving(found: SetStatistics, reference: Reference) -> None:
    for place, name in enumerate(("speed", "yaw_rate")):
        values = [value for one in reference.driving().values() if (value := one[place]) is not None]
        own = found.driving[name]
        assert own.n == len(values)
        assert own.mean == pytest.approx(statistics.fmean(values), rel=1e-6, abs=1e-9)
        assert own.quantiles["p95"] == pytest.approx(np.quantile(values, 0.95), rel=1e-6, abs=1e-9)
        assert sum(own.counts) == len(values)


def test_map_elements_are_those_of_the_evaluation(root: Path, found: SetStatistics) -> None:
    from admlops.datasets.nuscenes.vector_map import sample_vectors

    data = NuScenes(root, "v1.0-mini")
    tokens = [token for scene in data.scenes() for token in scene.samples]
    step = -(-len(tokens) // 50)
    wanted = Counter[str]()
    for token in tokens[::step]:
        wanted.update(one.type for one in sample_vectors(root / "maps", data.location(token), data.sample(token)))
    assert found.map is not None
    assert {name: row.elements for name, row in found.map.classes.items()} == {
        name: wanted[name] for name in found.map.classes
    }


def test_curvature_is_that_of_a_circle() -> None:
    angles = np.linspace(0, np.pi, 200)
    length, curvature = measure_line(np.stack([20 * np.cos(angles), 20 * np.sin(angles)], axis=1))
    assert length == pytest.approx(20 * np.pi, rel=1e-3)
    assert curvature == pytest.approx(1 / 20, rel=1e-2)
    assert measure_line(np.array([[0.0, 0.0], [3.0, 4.0]])) == (5.0, 0.0)


def test_distance_to_training_samples(tmp_path: Path) -> None:
    fabricated.write_tables(tmp_path)
    table = tmp_path / "v1.0-mini" / "scene.json"
    table.write_text(table.read_text().replace('"name": "scene-0916"', '"name": "scene-0061"'))
    pose = tmp_path / "v1.0-mini" / "ego_pose.json"
    rows = json.loads(pose.read_text())
    places = {row["token"]: row for row in rows}
    for number, away in ((0, 3.0), (1, 12.0), (2, 400.0)):  # of the first scene, beside the first of the second
        anchor = places["pose-scene-0916-sample-0"]["translation"]
        places[f"pose-scene-0103-sample-{number}"]["translation"] = [anchor[0], anchor[1] + away, 0.0]
    pose.write_text(json.dumps(rows))
    found = measure(tmp_path)
    near = Reference(tmp_path / "v1.0-mini").nearest(["scene-0061"])
    own = [near[f"scene-0103-sample-{number}"] for number in range(5)]
    counts = (sum(d < 5 for d in own), sum(5 <= d <= 20 for d in own), sum(d > 20 for d in own))
    assert tuple(found.training["mini_val"].values()) == counts
    assert counts[0] >= 1
    assert counts[1] >= 1


def test_a_standing_vehicle_repeats_samples(tmp_path: Path) -> None:
    fabricated.write_tables(tmp_path)
    pose = tmp_path / "v1.0-mini" / "ego_pose.json"
    rows = json.loads(pose.read_text())
    places = {row["token"]: row for row in rows}
    first = places["pose-scene-0103-sample-1"]["translation"]
    places["pose-scene-0103-sample-2"]["translation"] = [first[0] + 0.05, first[1], first[2]]  # 0.1 m/s
    places["pose-scene-0103-sample-3"]["translation"] = [first[0] + 0.05, first[1] + 0.2, first[2]]  # 0.4 m/s
    pose.write_text(json.dumps(rows))
    own = measure(tmp_path).standing
    assert own is not None
    assert (own.duplicates, own.distinct) == (1, 8)
    boxes = json.loads((tmp_path / "v1.0-mini" / "sample_annotation.json").read_text())
    assert own.duplicated_boxes == sum(row["sample_token"] == "scene-0103-sample-2" for row in boxes)


def test_chosen_samples_alone(root: Path, reference: Reference) -> None:
    chosen = list(reference.samples)[::2]
    found = measure(root, chosen=chosen)
    assert found.samples == len(chosen)
    assert found.boxes == sum(row["sample_token"] in set(chosen) for row in reference.annotations.values())


@pytest.mark.parametrize("axis", [axis for axis in AXES if axis not in ("light", "weather", "hour")])
def test_every_axis_counts_every_box(root: Path, axis: str, reference: Reference) -> None:
    cells = count_cells(SampleTables(NuScenes(root, "v1.0-mini")), [axis])
    if axis != "tag":  # a sample may have several tags, or none
        assert sum(cell.boxes for cell in cells) == len(reference.annotations)
    assert cells


def test_a_broken_table_is_named(tmp_path: Path) -> None:
    fabricated.write_tables(tmp_path)
    table = tmp_path / "v1.0-mini" / "sample_annotation.json"
    table.write_text(table.read_text()[:-200])
    with pytest.raises(DataError, match="sample_annotation"):
        measure(tmp_path)
    (tmp_path / "v1.0-mini" / "ego_pose.json").write_text("[]")
    with pytest.raises(DataError, match="9 samples have no pose"):
        measure(tmp_path)


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    fabricated.write_tables(tmp_path)
    found = measure(tmp_path)
    assert "scene.json" in found.lacking["light"]
    assert "map expansion" in found.lacking["map"]
    assert "training split" in found.lacking["training"]
    assert found.map is None


@pytest.mark.parametrize(
    ("table", "change", "says"),
    [
        ("sample_annotation", {"instance_token": "i-nobody"}, "1 rows of sample_annotation.json lack a value, or name"),
        ("sample_annotation", {"sample_token": "s-nowhere"}, "rows of sample_annotation.json"),
        ("sample_annotation", {"translation": None}, "rows of sample_annotation.json"),
        ("sample", {"scene_token": "s-nothing"}, "1 samples are of no scene in scene.json, first scene-0103-sample-0"),
        ("ego_pose", {"rotation": []}, "1 samples have no pose"),
        ("instance", {"category_token": None}, "instance.json: 1 values"),
    ],
)
def test_rows_that_do_not_fit_are_refused(tmp_path: Path, table: str, change: dict[str, object], says: str) -> None:
    path = fabricated.write_tables(tmp_path) / "v1.0-mini" / f"{table}.json"
    rows = json.loads(path.read_text())
    rows[0] |= change
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError) as caught:
        measure(tmp_path)
    assert says in caught.value.message


def test_two_key_frames_of_a_sample_are_refused(tmp_path: Path) -> None:
    path = fabricated.write_tables(tmp_path) / "v1.0-mini" / "sample_data.json"
    rows = json.loads(path.read_text())
    path.write_text(json.dumps([*rows, rows[0] | {"token": "again"}]))
    with pytest.raises(DataError, match="more than one LIDAR_TOP key frame"):
        measure(tmp_path)


def test_a_set_without_annotations_says_so(tmp_path: Path) -> None:
    folder = fabricated.write_tables(tmp_path) / "v1.0-mini"
    (folder / "sample_annotation.json").write_text("[]")
    (folder / "instance.json").write_text("[]")
    found = measure(tmp_path)
    assert (found.boxes, found.classes, found.cells) == (0, {}, ())
    assert found.driving["speed"].n == 9
    (folder / "sample_annotation.json").unlink()
    assert "no sample_annotation.json" in measure(tmp_path).lacking["boxes"]
