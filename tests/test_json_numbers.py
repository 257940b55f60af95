"""Numbers of JSON as arrays: as msgspec reads them, or not at all."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from admlops.core.json_numbers import NotNumbersError, read_columns, read_numbers, read_polylines

finite = st.floats(allow_nan=False, allow_infinity=False)
points = st.lists(st.tuples(finite, finite, finite), min_size=1, max_size=5)


@given(st.lists(finite | st.integers(-(2**53), 2**53)))
def test_numbers_are_those_of_msgspec(values: list[float]) -> None:
    text = msgspec.json.encode(values)
    assert read_numbers(text).tolist() == msgspec.json.decode(text, type=list[float])


@given(st.lists(points, max_size=5))
def test_polylines_are_those_of_msgspec(lines: list[list[tuple[float, float, float]]]) -> None:
    flat, counts = read_polylines([msgspec.json.encode(line) for line in lines], width=3)
    assert counts == [len(line) for line in lines]
    assert flat.tolist() == [list(point) for line in lines for point in line]


def test_white_space_between_is_allowed() -> None:
    flat, counts = read_polylines([b"[ [1, 2 ,3] ,\n[4,5,6] ]", b"[[7,8,9]]"], width=3)
    assert (flat.tolist(), counts) == ([[1, 2, 3], [4, 5, 6], [7, 8, 9]], [2, 1])


@pytest.mark.parametrize("text", [b"", b"[1,", b"[[1],2]", b"[null]", b'["1"]', b"[true]", b"[1e400]", b"1", b"{}"])
def test_what_is_no_list_of_numbers_is_refused(text: bytes) -> None:
    with pytest.raises(NotNumbersError):
        read_numbers(text)


@pytest.mark.parametrize(
    "lines",
    [
        [b"[[1,2],[3,4,5,6]]"],
        [b"[[1,2,3,4],[5,6]]"],
        [b"[[1,2,3],[4,[5],6]]"],
        [b"[1,2,3]"],
        [b"[]"],
        [b"[[1,2,3]]", b"[]"],
        [b"[[1,2,3],4,5,6]"],
        [b'[[1,2,"a"]]'],
        [b"[[1,2,3]]]", b"[[[1,2,3]]"],
        [b"{}"],
    ],
)
def test_points_of_another_width_are_refused(lines: list[bytes]) -> None:
    with pytest.raises(NotNumbersError):
        read_polylines(lines, width=3)


@given(st.lists(st.tuples(st.integers(0, 2**40), finite)), finite)
def test_columns_are_those_of_msgspec(entries: list[tuple[int, float]], floor: float) -> None:
    content = {"rows": [row for row, _ in entries], "confidences": [value for _, value in entries], "floor": floor}
    found = read_columns(msgspec.json.encode(content), numbers=("floor",), floats=("confidences",), integers=("rows",))
    assert {**{key: values.tolist() for key, values in found.items()}, "floor": found["floor"][0]} == content
    assert found["rows"].dtype == np.int64


@pytest.mark.parametrize(
    "text",
    [
        b'{"rows":[1.5],"floor":0}',
        b'{"rows":[[1]],"floor":0}',
        b'{"rows":[1],"floor":"0"}',
        b'{"rows":[1],"floor":true}',
        b'{"rows":[1]}',
        b'{"rows":[1],"floor":0,"more":[1]}',
        b"[1]",
    ],
)
def test_columns_of_another_form_are_refused(text: bytes) -> None:
    with pytest.raises(NotNumbersError):
        read_columns(text, numbers=("floor",), floats=(), integers=("rows",))
