"""Parts of the data as tables, and the options of `admlops evaluate` that show them and ask for protocols."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.conftest import Admlops
from tests.evaluation.oracle_records import truth_record
from tests.evaluation.test_evaluate import make_run

from admlops.datasets.nuscenes.tables import NuScenes
from admlops.evaluation.detection_3d.protocols import NUSCENES, VAD
from admlops.evaluation.slice_tables import KINDS, find_tables
from admlops.evaluation.vector_map.protocols import CHAMFER, IOU

ERRORS = dict.fromkeys(("trans_err", "scale_err", "orient_err", "vel_err", "attr_err"), 0.5)


def part(boxes: int, mean_ap: float | None, **more: float) -> dict[str, Any]:
    errors = ERRORS if boxes else {}
    return {"ground_truth": boxes, "classes": {}, "mAP": mean_ap, "NDS": mean_ap, "errors": errors, **more}


DETAILS: dict[str, Any] = {
    "detection": {
        "breakdowns": {
            "protocol": f"{NUSCENES.name}.present-classes",
            "scene": {"scene-1": part(9, 0.5, samples=2)},
            "distance": {"0-10 m": part(4, 0.7, recall=0.75), "10-20 m": part(0, None)},
            "visibility": {"80-100 %": part(9, 0.5, recall=0.6)},
            "conditions": {"day": part(9, 0.5, samples=2), "night": part(0, None, samples=0)},
        }
    },
    "plan": {
        "breakdowns": {
            "protocol": "stp3.planning",
            "scene": {"scene-1": {"samples": 2, "L2_1s": 0.25, "obj_col_1s": 0.0, "collision_1s": 0.125}},
            "conditions": {"reason": "nothing is described"},
        }
    },
    "latency": {},
}


def test_every_task_has_its_columns() -> None:
    boxes, plans = find_tables(DETAILS, ["scene"])
    assert (boxes.task, boxes.protocol, boxes.kind) == ("detection", f"{NUSCENES.name}.present-classes", "scene")
    errors = ("mATE", "mASE", "mAOE", "mAVE", "mAAE")
    assert boxes.columns == ("samples", "boxes", "mAP", "NDS", *errors)
    assert boxes.rows == (("scene-1", (2, 9, 0.5, 0.5, *[0.5] * 5)),)
    assert plans.columns == ("samples", "L2_1s", "collision_1s")
    assert plans.rows == (("scene-1", (2, 0.25, 0.125)),)


def test_a_part_with_nothing_in_it_has_no_values() -> None:
    (rings,) = find_tables(DETAILS, ["distance"])
    values = dict(zip(rings.columns, rings.rows[1][1], strict=True))
    assert values.pop("boxes") == 0
    assert set(values.values()) == {None}


def test_light_and_weather_come_from_the_conditions() -> None:
    light = find_tables(DETAILS, ["light"])
    assert [name for name, _ in light[0].rows] == ["day", "night"]
    assert (light[1].rows, light[1].reason) == ((), "nothing is described")
    assert [table.kind for table in find_tables(DETAILS, KINDS)].count("distance") == 1


@pytest.fixture
def run_name(data: NuScenes, tokens: list[str], tmp_path: Path) -> str:
    records = [
        msgspec.structs.replace(truth_record(data, token, noise=0.3), map_elements=msgspec.UNSET) for token in tokens
    ]
    return make_run(tmp_path / "repository" / "runs" / "parted", data, records).path.name


def test_the_command_prints_parts_and_says_what_has_none(run_name: str, admlops: Admlops) -> None:
    shown = admlops("evaluate", run_name, "--by", "distance", "--by", "weather", "--protocol", VAD.name)
    tables = shown.stdout.split("\n\n")
    assert tables[1].startswith("detection by distance (nuscenes.detection_cvpr_2019.present-classes)")
    assert tables[2].startswith("vad_detection by distance (vad.detection-30x15.present-classes)")
    assert tables[1].splitlines()[1].split()[:5] == ["distance", "boxes", "recall", "mAP", "NDS"]
    assert "nothing by weather: the scenes have no description" in shown.stderr
    again = json.loads(admlops("evaluate", run_name, "--json").stdout)
    assert set(again["breakdowns"]) == {"detection"}
    assert set(again["breakdowns"]["detection"]["distance"]) >= {"0-10 m", "40-50 m"}


def test_a_protocol_that_the_records_are_not_for_is_refused(run_name: str, admlops: Admlops) -> None:
    shown = admlops("evaluate", run_name, "--protocol", IOU.name, check=False)
    assert shown.returncode == 2
    assert f"{IOU.name} measures map_elements; the records of run parted hold detections_3d" in shown.stderr
    unknown = admlops("evaluate", run_name, "--protocol", CHAMFER.name, check=False)
    assert unknown.returncode == 2
    assert IOU.name in unknown.stderr


def test_ground_truth_and_data_that_do_not_fit_are_refused(run_name: str, tmp_path: Path, admlops: Admlops) -> None:
    file = tmp_path / "coco.json"
    file.write_text("{}")
    shown = admlops("evaluate", run_name, "--boxes-2d", file, check=False)
    assert shown.returncode == 2
    assert "is ground truth of detections_2d; the records of run parted hold detections_3d" in shown.stderr
    moved = admlops("evaluate", run_name, "--data", tmp_path / "nowhere", check=False)
    assert moved.returncode == 2
    assert "run parted was made on v1.0-mini in" in moved.stderr
    assert "admlops evaluate parted --data DIR" in moved.stderr
