"""Tags equal what plain Python says of the tables; rules are data, and wrong ones are named."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from tests import fabricated_nuscenes as fabricated
from tests.curation.plain_reference import Reference

from admlops.core.errors import UsageError
from admlops.curation.sample_tables import SampleTables
from admlops.curation.tags import Tagged, read_rules, tag_samples
from admlops.datasets.nuscenes.tables import NuScenes

DESCRIPTIONS = {"scene-0103": "Night, Rain, construction site", "scene-0916": "Parked cars, turn left"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = fabricated.write_tables(tmp_path_factory.mktemp("tags"), seed=5, objects=60)
    scenes = folder / "v1.0-mini" / "scene.json"
    rows = [row | {"description": DESCRIPTIONS[row["name"]]} for row in json.loads(scenes.read_text())]
    scenes.write_text(json.dumps(rows))
    logs = folder / "v1.0-mini" / "log.json"
    rows = [row | {"logfile": "n015-2018-11-21-19-38-26+0800"} for row in json.loads(logs.read_text())]
    logs.write_text(json.dumps(rows))
    fabricated.write_map(folder)
    (folder / "can_bus").mkdir()
    for name in DESCRIPTIONS:
        steps = [{"utime": 1_500_000_000_000_000, "value": 2.0}]
        (folder / "can_bus" / f"{name}_steeranglefeedback.json").write_text(json.dumps(steps))
        (folder / "can_bus" / f"{name}_pose.json").write_text(json.dumps(steps))
    return folder


def tags_of(root: Path, own: Path | None = None) -> dict[str, Tagged]:
    found = tag_samples(SampleTables(NuScenes(root, "v1.0-mini")), read_rules(own))
    return {one.rule.name: one for one in found}


def test_built_in_tags(root: Path) -> None:
    tags, reference = tags_of(root), Reference(root / "v1.0-mini")
    first, second = reference.chains()
    assert tags["night"].samples == tags["rain"].samples == tuple(first)
    assert tags["day"].samples == tags["dry"].samples == tuple(second)
    driving = reference.driving()
    turning = {token for token, (speed, rate) in driving.items() if abs(rate or 0) > 0.1 and (speed or 0) > 1}
    assert set(tags["turning"].samples) == turning
    boxes: dict[str, list[str]] = {token: [] for token in reference.samples}
    for row in reference.annotations.values():
        boxes[row["sample_token"]].append(reference.class_of(row))
    assert set(tags["dense"].samples) == {token for token, own in boxes.items() if len(own) >= 60}
    crowded = {token for token, own in boxes.items() if own.count("pedestrian") >= 15}
    assert set(tags["crowd"].samples) == crowded
    assert set(tags["construction"].samples) >= set(first)
    near = {
        row["sample_token"]
        for row in reference.annotations.values()
        if reference.class_of(row) == "pedestrian" and reference.distance(row) < 10
    }
    assert set(tags["near_pedestrian"].samples) == near
    assert set(tags["hard_steering"].samples) == {*first, *second}
    assert tags["far_from_training"].reason is not None
    assert tags["intersection"].samples == ()  # the fabricated map has none


def test_crossings_are_measured_on_the_map(root: Path) -> None:
    from shapely import Point, Polygon

    content = json.loads((root / "maps" / "expansion" / f"{fabricated.LOCATION}.json").read_text())
    nodes = {row["token"]: (row["x"], row["y"]) for row in content["node"]}
    polygons = {row["token"]: [nodes[one] for one in row["exterior_node_tokens"]] for row in content["polygon"]}
    areas = [Polygon(polygons[row["polygon_token"]]) for row in content["ped_crossing"]]
    reference = Reference(root / "v1.0-mini")
    near = {
        token
        for token, pose in reference.pose.items()
        if min(area.distance(Point(*pose["translation"][:2])) for area in areas) < 10
    }
    assert near
    assert set(tags_of(root)["near_crossing"].samples) == near


def test_own_rules_add_and_replace(root: Path, tmp_path: Path) -> None:
    rules = tmp_path / "mine.toml"
    rules.write_text(
        '[evening]\nwhere = "hour between 18 and 21"\n[night]\nabout = "dark"\nwhere = "hour >= 22 or hour < 5"\n'
    )
    tags = tags_of(root, rules)
    assert len(tags["evening"].samples) == 9
    assert tags["night"].samples == ()
    assert tags["night"].rule.about == "dark"
    assert read_rules(rules).sha256 != read_rules().sha256
    assert read_rules().sha256 == read_rules().sha256


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("[fast]\nwhere = 'sped > 3'", "mine.toml: rule fast: there is no column 'sped'"),
        ("[fast]\nwhere = 'speed >'", "mine.toml: rule fast: 'speed >' is no condition"),
        ("[fast]\nwhere = \"tag = 'night'\"", "'tag' is none"),
        ("[fast]\nwhere = 3", "mine.toml: rule fast has no condition"),
        ("[fast]\nwhere = 'speed > 3'\nwho = 'me'", "who is no key"),
        ("[Fast]\nwhere = 'speed > 3'", "not of a-z"),
        ("fast = 'speed > 3'", "rule fast has no condition"),
        ("[fast", "is not TOML"),
        ("", "holds no rule"),
    ],
)
def test_a_wrong_rule_is_named(tmp_path: Path, content: str, says: str) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(content)
    with pytest.raises(UsageError) as caught:
        read_rules(path)
    assert says in caught.value.message
    with pytest.raises(UsageError, match="cannot be read"):
        read_rules(tmp_path / "none.toml")


def test_conditions_run_where_no_file_can_be_reached(root: Path) -> None:
    import duckdb

    tables = SampleTables(NuScenes(root, "v1.0-mini"))
    tables.read(["scene"])
    closed = tables._closed()
    for sql in ("SELECT * FROM read_text('/etc/hostname')", "COPY samples TO '/tmp/x.csv'", "SET threads = 1"):
        with pytest.raises(duckdb.Error):
            closed.execute(sql)
    assert not math.isnan(len(closed.execute("SELECT * FROM samples").fetchall()))
