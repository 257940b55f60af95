"""JSON with numbers of nine significant digits, made column by column.

Nine digits are all that a 32-bit float has (IEEE 754: a binary32 number is recovered from 9 decimal digits), and models
compute in 32 bits: a position of 50 m keeps 0.1 µm. Python's own encoder writes up to 17 digits for each number, which
costs more than all the rest of handing a result over.

Outputs are lists of things alike: 300 boxes with the same keys, polylines with the same number of points. So a list is
turned into columns, one for each number of an item; one template of an item, repeated, is then filled by a single `%`.
Almost everything runs in C that way. Items that are not alike are encoded one by one.
"""

import json
import math
from functools import lru_cache
from itertools import chain
from typing import Any, List, Sequence, Tuple

FLOAT = "%.9g"
MAX_WIDTH = 256
"""Lists longer than this are not spread into columns, one a place: the template would grow without a gain."""

_text_of = json.encoder.encode_basestring_ascii
_encode_rare = json.JSONEncoder(allow_nan=False).encode


def encode(value: Any) -> bytes:
    """`value` as JSON, without spaces.

    Raises:
        ValueError: a number is NaN or infinite.
        TypeError: something JSON does not have, such as an array, or a key that is not a string.
        RecursionError: it contains itself.
    """
    return _encode_one(value).encode("ascii")


def _encode_one(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join([_key(key) + _encode_one(item) for key, item in value.items()]) + "}"
    if isinstance(value, (list, tuple)):
        template, columns = _spread(value)
        return "[" + ",".join([template] * len(value)) % tuple(chain.from_iterable(zip(*columns))) + "]"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, float):  # NumPy's float64 is one
        if not math.isfinite(value):
            raise ValueError("a number is not finite")
        return FLOAT % value
    return _encode_rare(value)


def _spread(values: Sequence[Any]) -> "Tuple[str, List[Sequence[Any]]]":
    """A template for each of `values`, and the columns that fill it: column[i] belongs to values[i]."""
    kinds = set(map(type, values))
    kind = kinds.pop() if len(kinds) == 1 else None
    if kind is float:
        # One addition each instead of one test: only if the sum is odd is it worth looking closer.
        if not math.isfinite(sum(values)) and not all(map(math.isfinite, values)):
            raise ValueError("a number is not finite")
        return FLOAT, [values]
    if kind is int:
        return "%d", [values]
    if kind is str:
        return "%s", [list(map(_text, values))]
    if kind is dict and len(set(map(tuple, values))) == 1:
        return _spread_dicts(values)
    if (kind is list or kind is tuple) and len(set(map(len, values))) == 1 and len(values[0]) <= MAX_WIDTH:
        return _spread_lists(values)
    return "%s", [list(map(_encode_one, values))]


def _spread_dicts(values: Sequence[Any]) -> "Tuple[str, List[Sequence[Any]]]":
    parts, columns = [], []  # type: Tuple[List[str], List[Sequence[Any]]]
    for key in values[0]:
        template, more = _spread([value[key] for value in values])
        parts.append(_key(key).replace("%", "%%") + template)
        columns += more
    return "{" + ",".join(parts) + "}", columns


def _spread_lists(values: Sequence[Any]) -> "Tuple[str, List[Sequence[Any]]]":
    parts, columns = [], []  # type: Tuple[List[str], List[Sequence[Any]]]
    for place in zip(*values):
        template, more = _spread(place)
        parts.append(template)
        columns += more
    return "[" + ",".join(parts) + "]", columns


@lru_cache(maxsize=4096)
def _text(text: str) -> str:
    return str(_text_of(text))


@lru_cache(maxsize=4096)
def _key(key: Any) -> str:
    if not isinstance(key, str):
        raise TypeError("keys must be strings, not {}".format(type(key).__name__))
    return _text(key) + ":"
