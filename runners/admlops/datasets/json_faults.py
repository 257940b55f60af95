"""What is wrong with a JSON file that cannot be decoded, in words that name the place."""

from __future__ import annotations

import re

import msgspec

_PLACE = re.compile(r"\(byte (\d+)\)$")
_NO_NUMBER = re.compile(rb"NaN|Infinity")
_KEY = re.compile(rb'"([^"\\]+)"\s*:')
_TOKEN = re.compile(rb'"token"\s*:\s*"([^"\\]+)"')


def describe_fault(content: bytes, error: msgspec.DecodeError) -> str:
    """Return what is wrong: `translation of row 'TOKEN' is NaN` where Python wrote what JSON does not have."""
    place = _PLACE.search(str(error))
    number = _NO_NUMBER.match(content, int(place[1])) if place else None
    if number is None:
        return str(error)
    start = content.rfind(b"{", 0, number.start()) + 1
    before, row = content[start : number.start()], content[start : content.find(b"}", number.start()) + 1]
    keys, token = _KEY.findall(before), _TOKEN.search(row)
    where = f"{keys[-1].decode(errors='replace')} " if keys else "what stands "
    whose = f"of row {token[1].decode(errors='replace')!r}" if token else f"at byte {number.start()}"
    return f"{where}{whose} is {number[0].decode()}, which is no number"
