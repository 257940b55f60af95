"""What an adapter reads comes back as it was after it was handed over: types, bits and memory layouts."""

from __future__ import annotations

import math
from collections import OrderedDict
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
import pytest

from admlops.worker.prefetch.plain import PlainError
from admlops.worker.prefetch.slot import Slot, SlotFull, size_of


class Place(NamedTuple):
    """Of a module's top level, so that it can be found by its name."""

    x: float
    name: str


class Mode(Enum):
    """The same."""

    LIDAR = 0
    CAMERA = 1


def hand_over(value: Any) -> Any:
    slot = Slot(1 << 20)
    slot.write({"before": list(range(1000))})
    slot.write(value)
    return slot.read()


def test_values_come_back_as_they_were() -> None:
    value = {
        "floats": [0.1 + 0.2, 1e-320, -0.0, math.inf, 2**70],
        ("a", 1): (None, True, "ü", {3, 4}, frozenset("x")),
        "bytes": b"\0\xff",
        "named": [Place(0.1, "a")],
        "mode": Mode.CAMERA,
        "class": Place,
        "function": hand_over,
        "ordered": OrderedDict(b=1, a=2),
        "empty": [(), {}, "", b""],
    }
    found = hand_over(value)
    assert found == value
    assert repr(found) == repr(value), "types and signs too"
    assert found["class"] is Place
    assert math.isnan(hand_over(math.nan))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(24, dtype=np.float32).reshape(2, 3, 4),
        np.arange(24, dtype=">i2").reshape(2, 3, 4).transpose(2, 0, 1),
        np.asfortranarray(np.random.default_rng(0).normal(size=(5, 7))),
        np.arange(24)[::3],
        np.array(7.5),
        np.zeros((0, 4), dtype=np.float64),
        np.array([True, False]),
        np.array(["2026-01-01"], dtype="datetime64[s]"),
    ],
)
def test_arrays_keep_bits_and_layout(array: Any) -> None:
    found = hand_over({"array": array})["array"]
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    if array.size and (array.flags.c_contiguous or array.flags.f_contiguous):
        assert found.strides == array.strides
    assert found.flags.writeable
    number = hand_over(np.float32(0.1))
    assert (type(number), number) == (np.float32, np.float32(0.1))


def test_what_has_no_plain_form_is_named_by_its_place() -> None:
    for value, said in (
        ({"metas": [1, {"thing": object()}]}, r"inputs\['metas'\]\[1\]\['thing'\] is of type object"),
        ([lambda: 1], r"inputs\[0\] refers to .*<lambda>, which cannot be found by its name"),
        ({"a": np.array([object()])}, r"inputs\['a'\] is an array of object"),
    ):
        with pytest.raises(PlainError, match=said):
            hand_over(value)


def test_a_slot_says_when_a_value_is_too_large() -> None:
    value = {"pixels": np.zeros(1 << 20, dtype=np.uint8)}
    with pytest.raises(SlotFull):
        Slot(1 << 20).write(value)
    slot = Slot(size_of(value) + 4096)
    slot.write(value)
    assert slot.read()["pixels"].nbytes == 1 << 20
