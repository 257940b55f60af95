"""`admlops data list`: the data sets that are here, whole or not, and those that runs were made on."""

from __future__ import annotations

import json
from pathlib import Path

from tests.typed import Typed

from admlops.pipeline.data_roots import measure_bytes


def test_roots_kinds_splits_and_sizes(typed: Typed, tmp_path: Path, synthetic_root: Path) -> None:
    data = tmp_path / "repository" / "data"
    assert "holds no data set" in typed("data", "list").out
    (data / "unknown").mkdir(parents=True)
    (data / "broken" / "v1.0-mini").mkdir(parents=True)
    (data / "broken" / "v1.0-mini" / "sample.json").write_text("[]")
    (data / "broken" / "v1.0-mini" / "scene.json").write_text("{")
    (data / "linked").symlink_to(synthetic_root)
    lanes = data / "OpenLane-V2"
    lanes.mkdir()
    (lanes / "data_dict_subset_A.json").write_text('{"val": {"00000": ["1.json"], "00001": ["2.json"]}, "test": {}}')
    rows = {Path(row["root"]).name: row for row in json.loads(typed("data", "list", "--json").out)}
    assert set(rows) == {"unknown", "broken", "linked", "OpenLane-V2"}
    assert (rows["linked"]["kind"], rows["linked"]["version"]) == ("nuscenes", "v1.0-mini")
    assert (rows["linked"]["splits"], rows["linked"]["synthetic"]) == ({"mini_val": 2}, True)
    assert rows["linked"]["size_bytes"] == sum(
        path.stat().st_size for path in synthetic_root.rglob("*") if path.is_file()
    )
    assert (rows["OpenLane-V2"]["version"], rows["OpenLane-V2"]["splits"]) == ("subset_A", {"val": 2})
    assert (rows["unknown"]["kind"], rows["unknown"]["problem"]) == (None, "no data set that is known")
    assert str(data / "broken") in rows["broken"]["problem"]
    assert "mini_val 2" in typed("data", "list", "--format", "csv").out


def test_a_size_of_too_many_files_is_a_lower_bound(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / str(number)).write_bytes(b"12")
    assert measure_bytes(tmp_path) == (10, True)
    assert measure_bytes(tmp_path, 3) == (6, False)
