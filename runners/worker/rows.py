"""Outputs whose rows are a set: equal scores change places at rounding errors, so rows are paired before they differ.

A detector of two stages gives a thousand boxes in the order of their scores, and what it says of each. Compared row by
row, two boxes that changed places differ by the whole picture, though nothing is wrong.
"""

from importlib import import_module
from typing import Any, List, Mapping, NamedTuple, Tuple

from .network import Arrays

REACH = 1e-3
"""How far the two rows of a pair may be apart, over the range of all of them."""


class Paired(NamedTuple):
    """Both sides with their rows in one order. `unpaired` is the share of rows without a counterpart, by output."""

    ours: Arrays
    theirs: Arrays
    unpaired: Mapping[str, float]


def pair_rows(rows: Mapping[str, str], ours: Arrays, theirs: Arrays) -> Paired:
    """Bring the rows of the outputs that `rows` names into one order, and leave out those without a counterpart."""
    pairs = {key: _find_pairs(ours[key], theirs[key]) for key in sorted(set(rows.values()))}
    left, right, unpaired = dict(ours), dict(theirs), {}
    for name, key in rows.items():
        own, other = pairs[key]
        if max(len(ours[name]), len(theirs[name])) and len(ours[name]) == len(ours[key]):
            unpaired[name] = 1 - len(own) / max(len(ours[name]), len(theirs[name]))
            left[name], right[name] = ours[name][own], theirs[name][other]
    return Paired(left, right, unpaired)


def _find_pairs(ours: Any, theirs: Any) -> Tuple[Any, Any]:
    """Return the places of rows that belong together; those of one place first, then the nearest of the rest."""
    numpy = import_module("numpy")
    first, second = (one.reshape(len(one), -1).astype("float64") for one in (ours, theirs))
    if not len(first) or not len(second) or first.shape[1] != second.shape[1]:
        return numpy.zeros(0, int), numpy.zeros(0, int)
    reach = REACH * (float(numpy.ptp(second)) or 1.0)
    common = min(len(first), len(second))
    same = numpy.flatnonzero(numpy.abs(first[:common] - second[:common]).max(axis=1) <= reach)
    own, other = same.tolist(), same.tolist()
    rest = [_without(len(one), same) for one in (first, second)]
    if all(len(one) for one in rest):
        apart = numpy.abs(first[rest[0]][:, None] - second[rest[1]][None]).max(axis=-1)
        taken = _nearest_first(apart, reach)
        own += [int(rest[0][a]) for a, _ in taken]
        other += [int(rest[1][b]) for _, b in taken]
    return numpy.array(own, int), numpy.array(other, int)


def _without(count: int, places: Any) -> Any:
    numpy = import_module("numpy")
    return numpy.setdiff1d(numpy.arange(count), places)


def _nearest_first(apart: Any, reach: float) -> List[Tuple[int, int]]:
    """Take pairs from the nearest on, each row once; those that are not finite are never near."""
    numpy = import_module("numpy")
    near = numpy.argwhere(apart <= reach)
    order = numpy.argsort(apart[near[:, 0], near[:, 1]], kind="stable")
    taken, used, given = [], set(), set()
    for a, b in near[order].tolist():
        if a not in used and b not in given:
            taken.append((a, b))
            used.add(a)
            given.add(b)
    return taken
