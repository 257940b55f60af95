"""What is packed for the page's script is what the page's own views say, at any confidence."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from msgspec import UNSET
from msgspec.structs import replace
from tests.reports.fabricate import FakeData, make_data, make_metadata, make_record

from admlops.core.nuscenes_classes import CLASS_RANGES_M, MAP_CLASSES
from admlops.reports.geometry import project, projection_matrix, to_camera
from admlops.reports.packing import (
    BOX_FIELDS,
    CONFIDENCE_SCALE,
    MAX_PREDICTIONS,
    NOT_JUDGED,
    Names,
    pack_record,
    pack_truth,
)
from admlops.reports.scene_view import Truth, load_truth, view_record
from admlops.results.record import Record

RECORD = make_record(make_metadata("GroundPlane")[0])


@dataclass(frozen=True)
class Unpacked:
    """A box or line as a script reads it."""

    name: str
    confidence: float
    partner: int
    numbers: tuple[int, ...]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> FakeData:
    return make_data(tmp_path_factory.mktemp("data"))


@pytest.fixture
def truth(data: FakeData) -> Truth:
    return load_truth("token-000", data, with_map=True)


def numbers(text: str) -> list[int]:
    return np.frombuffer(base64.b64decode(text), dtype="<i2").tolist()  # type: ignore[no-any-return]


def boxes(text: str, names: Names) -> list[Unpacked]:
    rows = np.array(numbers(text)).reshape(-1, BOX_FIELDS).tolist()
    known = list(names.known)
    return [Unpacked(known[row[0]], row[11] / CONFIDENCE_SCALE, row[12], tuple(row)) for row in rows]


def lines(text: str, names: Names) -> list[Unpacked]:
    left, found, known = numbers(text), [], list(names.known)
    while left:
        label, confidence, partner, count, *rest = left
        found.append(Unpacked(known[label], confidence / CONFIDENCE_SCALE, partner, tuple(rest[: 3 * count])))
        left = rest[3 * count :]
    return found


def roles(there: list[Unpacked], seen: list[Unpacked], cut: float) -> list[str]:
    """What a script makes of it: what is shown, and ground truth whose partner is not shown is missed."""
    shown = [one for one in seen if one.confidence >= cut]
    taken = {one.partner for one in shown}
    own = [f"{one.name} {'hit' if one.partner >= 0 else 'false_alarm'}" for one in shown]
    return sorted(own + [f"truth {x.name} {'hit' if i in taken else 'miss'}" for i, x in enumerate(there)])


@pytest.mark.parametrize("cut", [0.05, 0.3, 0.45, 0.6, 0.8, 0.95])
def test_roles_are_those_of_the_view_at_every_confidence(truth: Truth, cut: float) -> None:
    names = Names()
    there, seen = pack_truth(truth, names), pack_record(RECORD, truth, names)
    cutoffs = {"detection": dict.fromkeys(CLASS_RANGES_M, cut), "map": dict.fromkeys(MAP_CLASSES, cut)}
    view = view_record(RECORD, truth, cutoffs=cutoffs)
    for kind, unpack in (("boxes", boxes), ("lines", lines)):
        own = [
            f"{'truth ' if one.is_truth else ''}{one.label.split()[0]} {one.role}"
            for one in (view.boxes if kind == "boxes" else view.lines)
        ]
        assert roles(unpack(getattr(there, kind), names), unpack(getattr(seen, kind), names), cut) == sorted(own)


def test_lengths_are_in_centimetres_and_lines_lose_only_points_that_say_nothing(truth: Truth) -> None:
    names = Names()
    seen = pack_record(RECORD, truth, names)
    car = boxes(seen.boxes, names)[0]
    assert car.numbers[1:7] == (1460, 90, 80, 190, 440, 160)
    divider = lines(seen.lines, names)[0]
    assert divider.numbers[:3] == (-2900, 30, 0)
    straight = RECORD.map_elements
    assert isinstance(straight, list)
    dense = replace(straight[0], points=[(float(x), 0.0) for x in range(-20, 21)])
    packed = pack_record(replace(RECORD, map_elements=[dense]), truth, Names())
    assert numbers(packed.lines)[3:] == [2, -2000, 0, 0, 2000, 0, 0]


def test_without_ground_truth_nothing_is_judged() -> None:
    names = Names()
    seen = pack_record(RECORD, Truth(), names)
    assert {one.partner for one in (*boxes(seen.boxes, names), *lines(seen.lines, names))} == {NOT_JUDGED}


def test_of_many_boxes_the_most_confident_are_packed_and_an_operating_point_reaches_lower(truth: Truth) -> None:
    assert isinstance(RECORD.detections_3d, list)
    one, count = RECORD.detections_3d[0], 3 * MAX_PREDICTIONS
    low = [replace(one, id=index, confidence=0.01 + index / 1000) for index in range(count)]
    many: Record = replace(RECORD, detections_3d=low, map_elements=UNSET)
    names = Names()
    kept = boxes(pack_record(many, truth, names).boxes, names)
    assert len(kept) == MAX_PREDICTIONS
    assert kept[0].confidence == pytest.approx(0.01 + (3 * MAX_PREDICTIONS - 1) / 1000, abs=1e-4)
    few = replace(many, detections_3d=low[:30])
    assert boxes(pack_record(few, truth, names).boxes, names) == []
    reached = pack_record(few, truth, names, cutoffs={"detection": {"car": 0.02}})
    assert len(boxes(reached.boxes, names)) == 20


def test_a_projection_matrix_is_the_projection(data: FakeData) -> None:
    sample = data.sample("token-000")
    camera = sample["cameras"]["CAM_FRONT_LEFT"]
    points = np.array([[10.0, 6.0, 1.0], [25.0, 20.0, 0.0]])
    matrix = projection_matrix(ego2global=sample["ego2global"], camera=camera)
    found = np.column_stack([points, np.ones(2)]) @ matrix.T
    inside = to_camera(points, ego2global=sample["ego2global"], camera=camera)
    assert np.allclose(found[:, :2] / found[:, 2:], project(inside, camera["intrinsic"]))
    assert np.allclose(found[:, 2], inside[:, 2])


def test_what_is_no_place_is_packed_somewhere(tmp_path: Path, truth: Truth) -> None:
    """A box beyond what 16 bits hold is drawn at the edge; the page is written."""
    assert isinstance(RECORD.detections_3d, list)
    far = replace(RECORD.detections_3d[0], bbox_3d=replace(RECORD.detections_3d[0].bbox_3d, size_wlh=(2.0, 1e9, 2.0)))
    names = Names()
    (box,) = boxes(pack_record(replace(RECORD, detections_3d=[far]), truth, names).boxes, names)
    assert box.numbers[5] == 32767
