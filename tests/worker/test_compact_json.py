"""The column encoder writes JSON of the same value as Python's own, but for digits that no 32-bit float has."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.compact_json import encode

quick = settings(max_examples=60, deadline=None)
FLOATS_32 = st.floats(allow_nan=False, allow_infinity=False, width=32)
SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FLOATS_32 | st.text()
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=30,
)
BOXES = st.lists(
    st.fixed_dictionaries(
        {"id": st.integers(0, 9), "100%": st.text(), "score": FLOATS_32, "center": st.tuples(FLOATS_32, FLOATS_32)}
    ),
    max_size=6,
)
TOO_LARGE_FOR_A_SUM = [1.7e308, 1.7e308]


def as_float32(number: float) -> float:
    return float(struct.unpack("f", struct.pack("f", number))[0])


def same(value: Any, read: Any) -> bool:
    """Equal, with tuples as lists and floats to 32 bits."""
    if isinstance(value, float):
        return isinstance(read, int | float) and as_float32(read) == as_float32(value)
    if isinstance(value, list | tuple):
        return isinstance(read, list) and len(read) == len(value) and all(map(same, value, read))
    if isinstance(value, dict):
        return (
            isinstance(read, dict) and list(read) == list(value) and all(same(value[key], read[key]) for key in value)
        )
    return type(read) is type(value) and bool(read == value)


@quick
@given(VALUES)
def test_any_value_comes_back(value: Any) -> None:
    assert same(value, json.loads(encode(value)))


@quick
@given(BOXES)
def test_lists_of_things_alike_come_back(boxes: list[dict[str, Any]]) -> None:
    assert same({"detections_3d": boxes}, json.loads(encode({"detections_3d": boxes})))


@quick
@given(st.integers(0, 5), st.integers(0, 3), st.data())
def test_lists_of_lists_of_one_length_come_back(rows: int, columns: int, data: st.DataObject) -> None:
    table = data.draw(st.lists(st.lists(FLOATS_32, min_size=columns, max_size=columns), min_size=rows, max_size=rows))
    assert same(table, json.loads(encode(table)))


@quick
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_64_bit_number_keeps_nine_digits(number: float) -> None:
    assert math.isclose(json.loads(encode([number]))[0], number, rel_tol=5e-9, abs_tol=5e-324)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize(
    "place",
    [lambda x: x, lambda x: [x], lambda x: [[1.0, x], [1.0, 2.0]], lambda x: [{"a": x}], lambda x: {"a": [x, 1]}],
)
def test_nan_and_infinity_are_refused_everywhere(number: float, place: Any) -> None:
    with pytest.raises(ValueError, match="not finite"):
        encode(place(number))


def test_large_numbers_are_not_mistaken_for_infinite() -> None:
    assert json.loads(encode(TOO_LARGE_FOR_A_SUM)) == TOO_LARGE_FOR_A_SUM


@pytest.mark.parametrize("value", [object(), [object()], {"a": {1, 2}}, {1: 2}, [{1: 2}, {1: 3}], b"bytes"])
def test_what_json_does_not_have_is_refused(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(RecursionError):
        encode(loop)
